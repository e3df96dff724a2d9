package merge

import (
	"slices"
	"strings"
)

// region is a part of the base between lines that both sides left alone: lines
// [base[0],base[1]) of the base became those of each side.
type region struct {
	base, ours, theirs [2]int
}

// textMerge is a line-wise merge of three texts.
type textMerge struct {
	base, ours, theirs []string
	// text is the merged text; at the conflicts it has the lines of ours.
	text      string
	conflicts []region
}

// mergeText merges line by line. Changes of both sides that overlap or touch
// are a conflict unless both sides made the same of that part.
//
// Where that gives conflicts and a carriage return is involved, the merge is
// done again with line ends put aside; lines that come from theirs then get the
// line ends that most lines of ours have.
func mergeText(base, ours, theirs string) textMerge {
	m := textMerge{base: splitLines(base), ours: splitLines(ours), theirs: splitLines(theirs)}
	m.merge(func(line string) string { return line }, func(line string) string { return line })
	if len(m.conflicts) == 0 || !strings.Contains(base+ours+theirs, "\r\n") {
		return m
	}
	end := lineEnd(m.ours)
	loose := textMerge{base: m.base, ours: m.ours, theirs: m.theirs}
	loose.merge(withoutCR, func(line string) string {
		if strings.HasSuffix(line, "\n") {
			return strings.TrimRight(line, "\r\n") + end
		}
		return line
	})
	return loose
}

// withoutCR removes the carriage return of a line's end.
func withoutCR(line string) string {
	if cut, ok := strings.CutSuffix(line, "\r\n"); ok {
		return cut + "\n"
	}
	return line
}

// lineEnd returns the line end that most of the lines have.
func lineEnd(lines []string) string {
	crlf, all := 0, 0
	for _, line := range lines {
		if strings.HasSuffix(line, "\n") {
			all++
		}
		if strings.HasSuffix(line, "\r\n") {
			crlf++
		}
	}
	if 2*crlf > all {
		return "\r\n"
	}
	return "\n"
}

// merge compares lines by their keys. Lines taken from theirs go through adopt.
func (m *textMerge) merge(key, adopt func(string) string) {
	keys := func(lines []string) []string {
		out := make([]string, len(lines))
		for i, line := range lines {
			out[i] = key(line)
		}
		return out
	}
	t := table{}
	base, ours, theirs := t.number(keys(m.base)), t.number(keys(m.ours)), t.number(keys(m.theirs))
	same := func(a, b []int32) bool { return slices.Equal(a, b) }

	var out strings.Builder
	put := func(lines []string) {
		for _, line := range lines {
			out.WriteString(line)
		}
	}
	next := 0 // line of ours to write next
	for _, r := range regions(diffLines(base, ours), diffLines(base, theirs)) {
		b, o, t := base[r.base[0]:r.base[1]], ours[r.ours[0]:r.ours[1]], theirs[r.theirs[0]:r.theirs[1]]
		put(m.ours[next:r.ours[0]])
		next = r.ours[1]
		switch {
		case same(b, t), same(o, t):
			put(m.ours[r.ours[0]:r.ours[1]])
		case same(b, o):
			for _, line := range m.theirs[r.theirs[0]:r.theirs[1]] {
				out.WriteString(adopt(line))
			}
		default:
			put(m.ours[r.ours[0]:r.ours[1]])
			m.conflicts = append(m.conflicts, r)
		}
	}
	put(m.ours[next:])
	m.text = out.String()
}

// regions joins the hunks of both sides that overlap or touch.
func regions(ours, theirs []hunk) []region {
	var out []region
	// What the hunks so far added to each side: its line minus the base's.
	shiftOurs, shiftTheirs := 0, 0
	for len(ours) > 0 || len(theirs) > 0 {
		from, to := first(ours, theirs)
		r := region{ours: [2]int{from + shiftOurs}, theirs: [2]int{from + shiftTheirs}}
		for {
			before := len(ours) + len(theirs)
			ours, to, shiftOurs = swallow(ours, to, shiftOurs)
			theirs, to, shiftTheirs = swallow(theirs, to, shiftTheirs)
			if len(ours)+len(theirs) == before {
				break
			}
		}
		r.base, r.ours[1], r.theirs[1] = [2]int{from, to}, to+shiftOurs, to+shiftTheirs
		out = append(out, r)
	}
	return out
}

// first returns the base lines of the hunk that comes first.
func first(ours, theirs []hunk) (from, to int) {
	if len(theirs) == 0 || len(ours) > 0 && ours[0].a0 <= theirs[0].a0 {
		return ours[0].a0, ours[0].a0
	}
	return theirs[0].a0, theirs[0].a0
}

// swallow takes the first hunk if it begins at or before the base line to.
func swallow(hunks []hunk, to, shift int) (rest []hunk, newTo, newShift int) {
	if len(hunks) == 0 || hunks[0].a0 > to {
		return hunks, to, shift
	}
	h := hunks[0]
	return hunks[1:], max(to, h.a1), shift + (h.b1 - h.b0) - (h.a1 - h.a0)
}
