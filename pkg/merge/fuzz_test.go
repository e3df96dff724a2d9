package merge

import (
	"slices"
	"strings"
	"testing"
)

func FuzzText(f *testing.F) {
	f.Add("1\n2\n3\n", "1\nzwei\n3\n", "1\n2\n3\n4\n")
	f.Add("a\na\na\nb\n", "a\na\na\na\nb\n", "a\na\nb\n")
	f.Add("a\r\nb\r\nc", "a\nb\nc\n", "a\r\nb\r\n")
	f.Add("", "x", "\n\n")
	f.Add("a\nb\nc\nd\ne\nf\n", "d\ne\nf\na\nb\nc\n", "f\ne\nd\nc\nb\na\n")
	f.Fuzz(func(t *testing.T, base, ours, theirs string) {
		for name, pair := range map[string]struct {
			m    textMerge
			want string
		}{
			"theirs unchanged": {mergeText(base, ours, base), ours},
			"ours unchanged":   {mergeText(base, base, theirs), theirs},
			"both the same":    {mergeText(base, ours, ours), ours},
		} {
			if pair.m.text != pair.want || len(pair.m.conflicts) > 0 {
				t.Errorf("%s: %q with %v, want %q", name, pair.m.text, pair.m.conflicts, pair.want)
			}
		}
		m, back := mergeText(base, ours, theirs), mergeText(base, theirs, ours)
		if (len(m.conflicts) == 0) != (len(back.conflicts) == 0) {
			t.Errorf("conflicts %v, the other way round %v", m.conflicts, back.conflicts)
		}
		if !strings.Contains(base+ours+theirs, "\r\n") && len(m.conflicts) == 0 && m.text != back.text {
			t.Errorf("merged %q, the other way round %q", m.text, back.text)
		}
		for _, r := range m.conflicts {
			for side, lines := range map[[2]int][]string{r.base: m.base, r.ours: m.ours, r.theirs: m.theirs} {
				if side[0] < 0 || side[0] > side[1] || side[1] > len(lines) {
					t.Errorf("conflict %v has lines that are not there", r)
				}
			}
		}
		checkDiff(t, m.base, m.theirs)
		checkDiff(t, m.theirs, m.base)
	})
}

// checkDiff checks that a diff turns a into b, that its hunks are apart, and
// that it says nothing about equal lines at the ends.
func checkDiff(t *testing.T, a, b []string) {
	t.Helper()
	numbers := table{}
	var got []string
	next, nextB := 0, 0
	for i, h := range diffLines(numbers.number(a), numbers.number(b)) {
		if i > 0 && h.a0 <= next || h.a0 < next || h.a1 < h.a0 || h.b1 < h.b0 || h.a1-h.a0+h.b1-h.b0 == 0 || h.a0-next != h.b0-nextB {
			t.Fatalf("hunk %d is %v after line %d", i, h, next)
		}
		got = append(append(got, a[next:h.a0]...), b[h.b0:h.b1]...)
		next, nextB = h.a1, h.b1
	}
	if got = append(got, a[next:]...); !slices.Equal(got, b) {
		t.Fatalf("diff of %q gives %q, want %q", a, got, b)
	}
}

// The bounds of the diff are reached, and it is right all the same.
func TestDiffBounds(t *testing.T) {
	t.Parallel()
	line := func(i int) string {
		return strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + "\n"
	}
	const n = 12_000
	var forth, shuffled, twice []string
	for i := range n {
		forth = append(forth, line(i))
		shuffled = append(shuffled, line(i*7919%n))
		twice = append(twice, line(i*31%500), line(i*17%500))
	}
	checkDiff(t, forth, shuffled)
	checkDiff(t, twice, append(slices.Clone(shuffled), twice[n/2:]...))
	backward := slices.Clone(twice)
	slices.Reverse(backward)
	checkDiff(t, twice, backward)
}

func FuzzYAML(f *testing.F) {
	f.Add("a: 1\nb: 2\n", "a: 2\nb: 2\n", "a: 1\nb: 3\nc: [1, 2]\n")
	f.Add("images:\n- name: a\n  newTag: 1\n- name: b\n  newTag: 2\n", "images:\n- name: a\n  newTag: 3\n- name: b\n  newTag: 2\n", "images:\n- name: b\n  newTag: '4'\n# x\n- name: c\n")
	f.Add("a: &x {b: 1}\nc: *x\n", "a: &x {b: 2}\nc: *x\n", "a: &x {b: 1}\nd: *x\n")
	f.Add("kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: b}\n", "kind: A\nmetadata: {name: a}\n", "kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: b}\n---\nkind: C\nmetadata:\n  name: c\n")
	f.Add("l:\n  - a\n  - b\nt: |\n  x\n\n  y\n", "l:\n  - b\nt: |\n  x\n\n  z\n", "l:\n- a\n- b\n- c\nt: >-\n  x\n  y\n")
	f.Add("? a\n: - - 1\n", "\"a\": 'b'\n", "a: {}\n")
	f.Fuzz(func(t *testing.T, base, ours, theirs string) {
		names := [3]string{"base", "ours", "theirs"}
		same := func(name, got, want string, conflicts []Conflict, err error) {
			t.Helper()
			if err == nil && len(conflicts) == 0 && got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		text, conflicts, err := mergeYAML(names, base, ours, base, ours)
		same("theirs unchanged", text, ours, conflicts, err)
		text, conflicts, err = mergeYAML(names, base, ours, ours, ours)
		same("both the same", text, ours, conflicts, err)

		text, conflicts, err = mergeYAML(names, base, base, theirs, base)
		if err == nil && len(conflicts) == 0 {
			got, gotErr := parseYAML(strings.ReplaceAll(text, "\r\n", "\n"))
			want, wantErr := parseYAML(strings.ReplaceAll(theirs, "\r\n", "\n"))
			if gotErr != nil || wantErr != nil || !slices.EqualFunc(got.docs, want.docs, func(a, b yamlDoc) bool { return equalNodes(a.root, b.root) }) && len(want.docs) == 1 {
				t.Errorf("ours unchanged: %q (%v), want what %q (%v) means", text, gotErr, theirs, wantErr)
			}
		}
		half := mergeText(base, ours, theirs)
		text, conflicts, err = mergeYAML(names, base, ours, theirs, half.text)
		if err == nil && len(conflicts) == 0 {
			again, conflicts, err := mergeYAML(names, base, text, theirs, text)
			same("merged a second time", again, text, conflicts, err)
		}
		for _, c := range conflicts {
			if c.Path = "f.yaml"; strings.Contains(c.String(), "\n") {
				t.Errorf("conflict %q has several lines", c)
			}
		}
	})
}
