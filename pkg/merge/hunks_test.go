package merge

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiffLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, a, b string
		want       []Hunk
	}{
		{"equal", "a\nb\n", "a\nb\n", nil},
		{"from nothing", "", "a\nb\n", []Hunk{{0, 0, 0, 2}}},
		{"to nothing", "a\n", "", []Hunk{{0, 1, 0, 0}}},
		{"one line changed", "a\nb\nc\n", "a\nB\nc\n", []Hunk{{1, 2, 1, 2}}},
		{"two places", "a\nb\nc\nd\n", "x\na\nb\nc\n", []Hunk{{0, 0, 0, 1}, {3, 4, 4, 4}}},
		{"no newline at the end", "a\nb", "a\nb\n", []Hunk{{1, 2, 1, 2}}},
	} {
		a, b := Lines(test.a), Lines(test.b)
		got := DiffLines(a, b)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		// What the hunks say turns one text into the other.
		for _, h := range slices.Backward(got) {
			a = slices.Replace(a, h.OldStart, h.OldEnd, b[h.NewStart:h.NewEnd]...)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s: the hunks lead to %q", test.name, a)
		}
	}
}
