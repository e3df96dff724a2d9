//go:build unix

package merge

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLargeManifests: files come from strangers, and the time that a merge takes
// does not grow with the square of what is in them. It counts the time of the
// processor, since machines are busy; with a comparison of everything with
// everything each of these takes a minute or more.
func TestLargeManifests(t *testing.T) {
	const most = 20 * time.Second
	lines := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	flow := strings.Repeat("1, ", 60000)
	for name, c := range map[string]struct{ base, ours, theirs, want string }{
		"a long list": {
			"items:\n" + lines(40000, "- %d\n") + "a: 1\nb: 1\n",
			"items:\n" + lines(40000, "- %d\n") + "a: 2\nb: 1\n",
			"items:\n" + lines(40000, "- %d\n") + "a: 1\nb: 2\n",
			"items:\n" + lines(40000, "- %d\n") + "a: 2\nb: 2\n",
		},
		"many new items": {
			"volumes:\n- x\n", "volumes:\n- x\n- y\n", "volumes:\n- x\n" + lines(40000, "- %d\n"),
			"volumes:\n- x\n- y\n" + lines(40000, "- %d\n"),
		},
		"many new keys": {
			"a: 1\nz: 1\n", "a: 1\nz: 2\n", "a: 1\nz: 1\n" + lines(40000, "b%d: 1\n"),
			"a: 1\nz: 2\n" + lines(40000, "b%d: 1\n"),
		},
		"many comments": {
			"a:\n  b: 1\n  c: 1\n", "a:\n  b: 2\n  c: 1\n", "a:\n  b: 1\n" + lines(40000, "  # %d\n") + "  d: 1\n  c: 1\n",
			"a:\n  b: 2\n" + lines(40000, "  # %d\n") + "  d: 1\n  c: 1\n",
		},
		"many documents": {
			"kind: A\nmetadata: {name: a}\nx: 1\n", "kind: A\nmetadata: {name: a}\nx: 2\n",
			"kind: A\nmetadata: {name: a}\nx: 1\n" + lines(8000, "---\nkind: B\nmetadata: {name: b%d}\n"),
			"kind: A\nmetadata: {name: a}\nx: 2\n" + lines(8000, "---\nkind: B\nmetadata: {name: b%d}\n"),
		},
		"a long line": {
			"a: 1\nb: [" + flow + "1]\n", "a: 2\nb: [" + flow + "1]\n", "a: 1\nb: [" + flow + "2]\n", "a: 2\nb: [" + flow + "2]\n",
		},
	} {
		before := processorTime(t)
		text, conflicts, _ := mergeFile("x.yaml", [3]string{"base", "ours", "theirs"}, c.base, c.ours, c.theirs)
		if took := processorTime(t) - before; took > most {
			t.Errorf("%s: it took %s", name, took)
		}
		if len(conflicts) > 0 || text != c.want {
			t.Errorf("%s: %d conflicts, %d bytes, not %d", name, len(conflicts), len(text), len(c.want))
		}
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
