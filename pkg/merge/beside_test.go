package merge_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/merge"
)

// TestBeside: a file with a conflict may lack other parts of a change as well,
// and whoever takes the conflict for something that was settled must know.
func TestBeside(t *testing.T) {
	t.Parallel()
	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  a: \"1\"\n  b: \"2\"\n  c: \"3\"\n  text: |\n    one\n    two\n    three\n    four\n    five\n"
	text := "one\ntwo\nthree\nfour\nfive\n"
	change := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	for name, tt := range map[string]struct {
		path, base   string
		ours, theirs func(string) string
		want         bool
	}{
		"text, only the conflict":        {"a.txt", text, change("two", "2"), change("two", "zwei"), false},
		"text, and a line below":         {"a.txt", text, change("two", "2"), change("two", "zwei", "five", "fünf"), true},
		"text, and a line that ours has": {"a.txt", text, change("two", "2", "five", "fünf"), change("two", "zwei", "five", "fünf"), false},
		"yaml, only the conflict":        {"a.yaml", config, change(`a: "1"`, `a: "x"`), change(`a: "1"`, `a: "y"`), false},
		"yaml, and the line below":       {"a.yaml", config, change(`a: "1"`, `a: "x"`), change(`a: "1"`, `a: "y"`, `b: "2"`, `b: "y"`), true},
		"yaml, and what ours has":        {"a.yaml", config, change(`a: "1"`, `a: "x"`, `b: "2"`, `b: "y"`), change(`a: "1"`, `a: "y"`, `b: "2"`, `b: "y"`), false},
		"yaml, inside a block of text":   {"a.yaml", config, change("two", "2"), change("two", "zwei", "five", "fünf"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore()
			base, ours, theirs := s.tree(t, files{tt.path: tt.base}), s.tree(t, files{tt.path: tt.ours(tt.base)}), s.tree(t, files{tt.path: tt.theirs(tt.base)})
			r := s.merged(t, base, ours, theirs, merge.Options{})
			if r.Clean() {
				t.Fatal("there is no conflict")
			}
			if got := slices.Contains(r.Beside, tt.path); got != tt.want {
				t.Errorf("beside the conflict: %v, want %v (%v)", got, tt.want, r.Conflicts)
			}
		})
	}
}
