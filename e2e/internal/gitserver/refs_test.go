//go:build e2e

package gitserver_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
)

// TestRefs: what Refs reads is what git says, loose and packed.
func TestRefs(t *testing.T) {
	h := start(t, nil)
	c := h.clone(gitserver.Developer)
	compare := func(when string) {
		t.Helper()
		got, err := h.Refs(repo)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(got)) {
			lines = append(lines, got[name]+" "+name)
		}
		want, err := h.Git(t.Context(), repo, "for-each-ref", "--format=%(objectname) %(refname)")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s (-git +Refs):\n%s", when, diff)
		}
	}
	compare("empty")
	push := func(refs ...string) {
		t.Helper()
		for _, ref := range refs {
			commit(t, c, "for "+ref)
			if err := c.Push(t.Context(), "HEAD:"+ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	push("refs/heads/main", "refs/heads/hotfix/b", "refs/heads/hotfix/deep/c")
	compare("loose")
	if _, err := h.Git(t.Context(), repo, "pack-refs", "--all"); err != nil {
		t.Fatal(err)
	}
	compare("packed")
	push("refs/heads/main", "refs/heads/hotfix/d")
	compare("both")
	if _, err := h.Refs("other.git"); err == nil {
		t.Error("no error for a repository that is not there")
	}
}
