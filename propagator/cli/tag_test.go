package cli_test

import (
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestTags is a pipeline whose releases are tags: status names what is due and
// what is not, and create takes the version from the tag.
func TestTags(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "branch: main", "branch: main\n  capture: tag", 1), "1.0"))
	says := func(out string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("the output lacks %q:\n%s", text, out)
			}
		}
	}
	says(w.must("status"), "TAG_EXPECTED: tags v* on main")

	w.git.Git("shop.git", "tag", "v1.4.0", "main")
	w.git.Git("shop.git", "tag", "v1.5.0-rc.1", "main")
	says(w.must("status"), "due: capture shop/v1.4.0 of tag v1.4.0", "TAG_NOT_A_VERSION: v1.5.0-rc.1")
	says(w.must("snapshot", "create", "--commit", "v1.4.0"), "created shop/v1.4.0", "of main, tag v1.4.0")
	says(w.must("snapshot", "show", "v1.4.0"), "of main, tag v1.4.0")
	says(w.must("status", "-o", "json"), `"reason": "TAG_NOT_A_VERSION"`, `"version": "shop/v1.4.0"`)

	w.git.Git("shop.git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "tag", "-a", "-m", "old", "v1.3.0", "main")
	says(w.must("snapshot", "create", "--commit", "v1.3.0", "--dry-run"), "would create shop/v1.3.0")
	says(w.must("snapshot", "create", "--commit", "v1.3.0"), "created shop/v1.3.0")
	w.fails(3, []string{"snapshot", "create", "--commit", "v1.3.0"}, "ALREADY_THERE", "never moved")

	// A version of one's own has nothing to do with the tag.
	w.commit(gitrepotest.Files{"note": "2"})
	w.git.Git("shop.git", "tag", "vnext", "main")
	out := w.must("snapshot", "create", "--commit", "vnext", "--version", "v1.5.0", "--dry-run")
	says(out, "would create shop/v1.5.0")
	if strings.Contains(out, ", tag ") {
		t.Errorf("a tag that says no version is named as the reason:\n%s", out)
	}
}
