package merge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

// repository makes a tree of 5 000 manifests in 500 directories.
func repository() files {
	f := files{}
	for i := range 5000 {
		f[fmt.Sprintf("apps/team%d/app%d/file%d.yaml", i%50, i%500, i)] = fmt.Sprintf("kind: ConfigMap\nmetadata:\n  name: m%d\ndata:\n%s  last: x\n", i, strings.Repeat("  # line\n", 30))
	}
	return f
}

// change changes every file whose number is in the range, at its end or start.
func change(f files, from, n int, end bool) files {
	out := with(f, nil)
	for i := from; i < from+n; i++ {
		path := fmt.Sprintf("apps/team%d/app%d/file%d.yaml", i%50, i%500, i)
		if end {
			out[path] = strings.Replace(f[path], "last: x", "last: y", 1)
		} else {
			out[path] = strings.Replace(f[path], "kind: ConfigMap", "kind: Secret", 1)
		}
	}
	return out
}

func BenchmarkTrees(b *testing.B) {
	f := repository()
	for _, n := range []int{1, 20} {
		for name, from := range map[string]int{"same": 0, "other": n} {
			b.Run(fmt.Sprintf("changed=%d/files=%s", n, name), func(b *testing.B) {
				s := newStore()
				base, ours, theirs := s.tree(b, f), s.tree(b, change(f, 0, n, true)), s.tree(b, change(f, from, n, false))
				b.ReportAllocs()
				for b.Loop() {
					r, err := merge.Trees(s, base, ours, theirs, merge.Options{})
					if err != nil || !r.Clean() || len(r.Changes) != n {
						b.Fatal(r, err)
					}
				}
			})
		}
	}
}

// One directory with all the files is the worst case for trees.
func BenchmarkTreesFlat(b *testing.B) {
	f := files{}
	for path, content := range repository() {
		f[strings.ReplaceAll(path, "/", "-")] = content
	}
	s := newStore()
	base := s.tree(b, f)
	ours, theirs := s.tree(b, with(f, files{"a": "1\n"})), s.tree(b, with(f, files{"b": "1\n"}))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := merge.Trees(s, base, ours, theirs, merge.Options{}); err != nil || len(r.Changes) != 1 {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	f := repository()
	s := newStore()
	from, to := s.tree(b, f), s.tree(b, change(f, 0, 20, true))
	b.ReportAllocs()
	for b.Loop() {
		if changes, err := merge.Diff(s, from, to); err != nil || len(changes) != 20 {
			b.Fatal(changes, err)
		}
	}
}

// Two texts of 100 000 lines that have nothing, or only their order, in common.
func BenchmarkText(b *testing.B) {
	numbers := func(from, step int) string {
		var out strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&out, "line %d\n", from+(i*step)%100_000)
		}
		return out.String()
	}
	for name, theirs := range map[string]string{"nothing": numbers(200_000, 1), "shuffled": numbers(0, 7919)} {
		b.Run(name, func(b *testing.B) {
			s := newStore()
			trees := [3]gitrepo.Hash{}
			for i, text := range []string{numbers(0, 1), numbers(0, 1) + "ours\n", theirs} {
				trees[i] = s.tree(b, files{"f": text})
			}
			for b.Loop() {
				if r, err := merge.Trees(s, trees[0], trees[1], trees[2], merge.Options{}); err != nil || r.Clean() {
					b.Fatal(r.Clean(), err)
				}
			}
		})
	}
}
