package merge

import (
	"strings"
	"testing"
)

// TestSameKeyTwice: both sides add a key, far enough apart that the lines merge. Git
// would leave a file that nobody can read.
func TestSameKeyTwice(t *testing.T) {
	t.Parallel()
	between := "  a: 1\n  b: 1\n  c: 1\n  d: 1\n"
	base := "spec:\n" + between
	ours := "spec:\n  replicas: 3\n" + between
	names := [3]string{"base", "ours", "theirs"}

	text, conflicts, _ := mergeFile("x.yaml", names, base, ours, "spec:\n"+between+"  replicas: 3\n  more: 1\n")
	if want := "spec:\n  replicas: 3\n  more: 1\n" + between; text != want || len(conflicts) > 0 {
		t.Errorf("the same value: %q, %v", text, conflicts)
	}
	text, conflicts, _ = mergeFile("x.yaml", names, base, ours, "spec:\n"+between+"  replicas: 5\n")
	if text != ours || len(conflicts) != 1 || !strings.Contains(conflicts[0].String(), "spec.replicas: ours and theirs both added it") {
		t.Errorf("another value: %q, %v", text, conflicts)
	}
	// What could not be read before is merged by lines, as ever.
	text, conflicts, _ = mergeFile("x.yaml", names, base+"{{ x }}\n", ours+"{{ x }}\n", "spec:\n"+between+"  replicas: 5\n{{ x }}\n")
	if want := "spec:\n  replicas: 3\n" + between + "  replicas: 5\n{{ x }}\n"; text != want || len(conflicts) > 0 {
		t.Errorf("a template: %q, %v", text, conflicts)
	}
}
