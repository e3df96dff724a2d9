package merge

// Hunk says that the lines [OldStart, OldEnd) of one text became the lines
// [NewStart, NewEnd) of another. Lines count from 0.
type Hunk struct{ OldStart, OldEnd, NewStart, NewEnd int }

// Lines cuts a text after each newline. Only the last line can be without one.
func Lines(text string) []string { return splitLines(text) }

// DiffLines returns what changed between two texts that were cut by [Lines], in
// order; two hunks have at least one unchanged line between them. It is a
// shortest description unless the texts are large and far apart.
func DiffLines(a, b []string) []Hunk {
	numbers := table{}
	var hunks []Hunk
	for _, h := range diffLines(numbers.number(a), numbers.number(b)) {
		hunks = append(hunks, Hunk{OldStart: h.a0, OldEnd: h.a1, NewStart: h.b0, NewEnd: h.b1})
	}
	return hunks
}
