package merge

import (
	"slices"
	"strings"
)

// The bounds of a line diff. maxCost is the number of inserted and removed
// lines that one search may look at on its way to the middle of the shortest
// script: its work grows with the square. Texts that are further apart are cut
// at the lines that occur once in both, at most maxCuts levels deep, and what
// then still has nothing in common counts as replaced.
const (
	maxCost = 2000
	maxCuts = 32
)

// hunk says that lines [a0,a1) of one text became lines [b0,b1) of another.
type hunk struct{ a0, a1, b0, b1 int }

// splitLines cuts a text after each newline. Only the last line can be without
// one.
func splitLines(text string) []string {
	lines := make([]string, 0, strings.Count(text, "\n")+1)
	for text != "" {
		i := strings.IndexByte(text, '\n')
		if i < 0 {
			i = len(text) - 1
		}
		lines = append(lines, text[:i+1])
		text = text[i+1:]
	}
	return lines
}

// table gives equal lines equal numbers.
type table map[string]int32

func (t table) number(lines []string) []int32 {
	out := make([]int32, len(lines))
	for i, line := range lines {
		id, ok := t[line]
		if !ok {
			id = int32(len(t)) //nolint:gosec // a file has at most maxMergeSize lines
			t[line] = id
		}
		out[i] = id
	}
	return out
}

// diffLines returns what changed from a to b, in order; two hunks have at least
// one unchanged line between them. The script is a shortest one (Myers, "An
// O(ND) Difference Algorithm and Its Variations", 1986) unless the bounds were
// reached.
func diffLines(a, b []int32) []hunk {
	d := differ{changedA: make([]bool, len(a)), changedB: make([]bool, len(b))}
	d.withoutStrangers(a, b)
	gapsA, gapsB := gaps(d.changedA), gaps(d.changedB)
	slide(a, gapsA, gapsB)
	slide(b, gapsB, gapsA)
	var hunks []hunk
	i, j := 0, 0
	for k := range gapsA {
		if gapsA[k] > 0 || gapsB[k] > 0 {
			hunks = append(hunks, hunk{i, i + gapsA[k], j, j + gapsB[k]})
		}
		i += gapsA[k] + 1
		j += gapsB[k] + 1
	}
	return hunks
}

type differ struct {
	changedA, changedB []bool
	// Where the lines of the compared texts are in the whole ones.
	indexA, indexB    []int
	forward, backward []int
}

// withoutStrangers marks the lines that the other text does not have at all
// and compares the rest.
func (d *differ) withoutStrangers(a, b []int32) {
	inA, inB := map[int32]bool{}, map[int32]bool{}
	for _, id := range a {
		inA[id] = true
	}
	for _, id := range b {
		inB[id] = true
	}
	keep := func(text []int32, other map[int32]bool, changed []bool) (kept []int32, index []int) {
		for i, id := range text {
			if changed[i] = !other[id]; !changed[i] {
				kept = append(kept, id)
				index = append(index, i)
			}
		}
		return kept, index
	}
	var keptA, keptB []int32
	keptA, d.indexA = keep(a, inB, d.changedA)
	keptB, d.indexB = keep(b, inA, d.changedB)
	size := 2*min(len(keptA)+len(keptB), 2*maxCost+2) + 3
	d.forward, d.backward = make([]int, size), make([]int, size)
	d.compare(keptA, keptB, 0, 0, maxCuts)
}

// compare marks what differs between a and b, which begin at offA and offB of
// the kept lines.
func (d *differ) compare(a, b []int32, offA, offB, cuts int) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b, offA, offB = a[1:], b[1:], offA+1, offB+1
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) == 0 || len(b) == 0 {
		d.mark(len(a), len(b), offA, offB)
		return
	}
	if x, y, ok := d.middle(a, b); ok {
		d.compare(a[:x], b[:y], offA, offB, cuts)
		d.compare(a[x:], b[y:], offA+x, offB+y, cuts)
		return
	}
	anchors := uniqueCommon(a, b)
	if len(anchors) == 0 || cuts == 0 {
		d.mark(len(a), len(b), offA, offB)
		return
	}
	x, y := 0, 0
	for _, at := range anchors {
		d.compare(a[x:at[0]], b[y:at[1]], offA+x, offB+y, cuts-1)
		x, y = at[0]+1, at[1]+1
	}
	d.compare(a[x:], b[y:], offA+x, offB+y, cuts-1)
}

func (d *differ) mark(lenA, lenB, offA, offB int) {
	for i := range lenA {
		d.changedA[d.indexA[offA+i]] = true
	}
	for i := range lenB {
		d.changedB[d.indexB[offB+i]] = true
	}
}

// middle finds a point on a shortest path from the beginnings to the ends of a
// and b, by searching from both. It reports false when the path is too long,
// or when there is no point that makes both parts smaller: then a and b have
// no line in common at a useful place.
func (d *differ) middle(a, b []int32) (x, y int, ok bool) {
	n, m := len(a), len(b)
	delta, odd := n-m, (n-m)&1 != 0
	limit := min((n+m+1)/2, maxCost)
	zero := len(d.forward) / 2
	d.forward[zero+1], d.backward[zero+1] = 0, 0
	for cost := 0; cost <= limit; cost++ {
		for k := -cost; k <= cost; k += 2 {
			x := furthest(d.forward, zero, k, cost)
			for x < n && x-k < m && x-k >= 0 && a[x] == b[x-k] {
				x++
			}
			d.forward[zero+k] = x
			if back := delta - k; odd && back >= -(cost-1) && back <= cost-1 && x <= n && x-k <= m && x-k >= 0 && x+d.backward[zero+back] >= n {
				return x, x - k, x+x-k > 0 && x+x-k < n+m
			}
		}
		for k := -cost; k <= cost; k += 2 {
			x := furthest(d.backward, zero, k, cost)
			for x < n && x-k < m && x-k >= 0 && a[n-1-x] == b[m-1-x+k] {
				x++
			}
			d.backward[zero+k] = x
			if forth := delta - k; !odd && forth >= -cost && forth <= cost && x <= n && x-k <= m && x-k >= 0 && x+d.forward[zero+forth] >= n {
				return n - x, m - x + k, n-x+m-x+k > 0 && n-x+m-x+k < n+m
			}
		}
	}
	return 0, 0, false
}

// furthest returns where diagonal k can be entered with one more line inserted
// or removed.
func furthest(reach []int, zero, k, cost int) int {
	if k == -cost || k != cost && reach[zero+k-1] < reach[zero+k+1] {
		return reach[zero+k+1]
	}
	return reach[zero+k-1] + 1
}

// uniqueCommon returns the longest rising sequence of lines that occur once in
// each text, as pairs of positions (the idea of Bram Cohen's patience diff).
func uniqueCommon(a, b []int32) [][2]int {
	type seen struct{ inA, inB, atB int }
	count := map[int32]seen{}
	for _, id := range a {
		s := count[id]
		s.inA++
		count[id] = s
	}
	for j, id := range b {
		s := count[id]
		s.inB, s.atB = s.inB+1, j
		count[id] = s
	}
	var pairs [][2]int
	for i, id := range a {
		if s := count[id]; s.inA == 1 && s.inB == 1 {
			pairs = append(pairs, [2]int{i, s.atB})
		}
	}
	// piles[i] is the pair that ends the best sequence of length i+1.
	var piles []int
	before := make([]int, len(pairs))
	for p, pair := range pairs {
		at, _ := slices.BinarySearchFunc(piles, pair[1], func(pile, y int) int { return pairs[pile][1] - y })
		before[p] = -1
		if at > 0 {
			before[p] = piles[at-1]
		}
		if at == len(piles) {
			piles = append(piles, p)
		} else {
			piles[at] = p
		}
	}
	out := make([][2]int, len(piles))
	if len(piles) > 0 {
		for i, p := len(piles)-1, piles[len(piles)-1]; i >= 0; i, p = i-1, before[p] {
			out[i] = pairs[p]
		}
	}
	return out
}

// gaps counts the changed lines before each unchanged one and after the last.
// The unchanged lines of two texts are pairs, so gap k of one belongs to gap k
// of the other.
func gaps(changed []bool) []int {
	out := []int{0}
	for _, c := range changed {
		if c {
			out[len(out)-1]++
		} else {
			out = append(out, 0)
		}
	}
	return out
}

// slide moves each group of changed lines to where git shows it. A group can
// move by a line where the line it gives up equals the one it takes in; it goes
// as far down as it can, or to the last place where the other text changed too.
// Without this a merge would depend on which of several shortest scripts the
// search happened to find.
func slide(text []int32, own, other []int) {
	start := 0 // of gap k in the text
	for k := 0; k < len(own); k++ {
		for own[k] > 0 {
			size := own[k]
			for k > 0 && text[start-1] == text[start+own[k]-1] {
				above := own[k-1]
				own[k], own[k-1] = 0, own[k]+above
				k, start = k-1, start-1-above
			}
			best := -1
			if other[k] > 0 {
				best = k
			}
			for k+1 < len(own) && start+own[k] < len(text) && text[start] == text[start+own[k]] {
				own[k], own[k+1] = 0, own[k]+own[k+1]
				k, start = k+1, start+1
				if other[k] > 0 {
					best = k
				}
			}
			if own[k] != size {
				continue // it met another group: look again, as one
			}
			for best >= 0 && k > best {
				own[k], own[k-1] = 0, own[k]+own[k-1]
				k, start = k-1, start-1
			}
			break
		}
		start += own[k] + 1
	}
}
