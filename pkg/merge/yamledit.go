package merge

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// span is an edit: what replaces the bytes [from,to) of a text.
type span struct {
	from, to int
	text     string
}

// applySpans edits a text. Spans at the same place apply in the order given;
// spans that overlap are an error.
func applySpans(text string, spans []span) (string, error) {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	next := 0
	for _, s := range spans {
		if s.from < next || s.to < s.from || s.to > len(text) {
			return "", errors.New("the edits overlap")
		}
		out.WriteString(text[next:s.from])
		out.WriteString(s.text)
		next = s.to
	}
	out.WriteString(text[next:])
	return out.String(), nil
}

// shift moves the lines of a text to the right or left, except the first one,
// which begins in the middle of its line. False: a line is not far enough in.
func shift(text string, by int) (string, bool) {
	lines := splitLines(text)
	for i := 1; i < len(lines); i++ {
		switch {
		case strings.TrimSpace(lines[i]) == "":
		case by >= 0:
			lines[i] = strings.Repeat(" ", by) + lines[i]
		case len(lines[i]) < -by || strings.TrimLeft(lines[i][:-by], " ") != "":
			return "", false
		default:
			lines[i] = lines[i][-by:]
		}
	}
	return strings.Join(lines, ""), true
}

// replaceEntry puts theirs' entry in the place of that of ours.
func (m *yamlMerge) replaceEntry(o, t place) {
	text, ok := shift(m.theirs.between(t.first, t.offset, t.last), o.offset-t.offset)
	if !ok {
		m.cannot("its indentation does not allow it")
		return
	}
	m.spans = append(m.spans, span{m.ours.starts[o.first] + o.offset, m.ours.starts[o.last], text})
}

// insertEntry puts theirs' entry, as far in as offset, before a line of ours.
func (m *yamlMerge) insertEntry(line, offset int, t place) {
	first := m.theirs.headComment(t, m.ours)
	text, ok := shift(m.theirs.between(first, t.offset, t.last), offset-t.offset)
	if !ok {
		m.cannot("its indentation does not allow it")
		return
	}
	at := m.ours.starts[line]
	m.spans = append(m.spans, span{at, at, strings.Repeat(" ", offset) + text})
}

// removeEntry removes an entry of ours with the comment that stood above it, if
// theirs does not have that either.
func (m *yamlMerge) removeEntry(o place) {
	if !m.ours.alone(o) {
		m.cannot("what is removed shares a line with what stays")
		return
	}
	m.spans = append(m.spans, span{m.ours.starts[m.ours.headComment(o, m.theirs)], m.ours.starts[o.last], ""})
}

// replaceLiteral writes another text into a literal block of ours.
func (m *yamlMerge) replaceLiteral(at string, o *yaml.Node, text string, s *slotOf) {
	first := o.Line // the line after the bar
	if s == nil || o.Style&yaml.LiteralStyle == 0 || first >= s.ours.last {
		m.cannot("both sides changed the text of " + at)
		return
	}
	line := m.ours.lines[first]
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	var out strings.Builder
	for _, line := range splitLines(text) {
		if line != "\n" {
			out.WriteString(indent)
		}
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	m.spans = append(m.spans, span{m.ours.starts[first], m.ours.starts[s.ours.last], out.String()})
}

// cannot notes that the text cannot be edited, and why.
func (m *yamlMerge) cannot(why string) { m.why = cmp.Or(m.why, why) }
