package changes

import (
	"regexp"
	"strings"
	"unicode"
)

// Escape makes foreign text a part of one line of Markdown that looks as it is
// written and does nothing: no markup, no HTML, no line of its own, no name that
// is notified (@name), no reference to an issue (#12, !12), no control and no
// invisible character. An address stays legible, and is a link at most to what
// it says.
func Escape(s string) string {
	var out strings.Builder
	fields := strings.Fields(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(s, "\uFFFD")))
	runes := []rune(strings.Join(fields, " "))
	lead := leadLength(runes)
	for i, c := range runes {
		switch {
		case c == '&':
			out.WriteString("&amp;")
		case c == '<':
			out.WriteString("&lt;")
		case c == '>':
			out.WriteString("&gt;")
		case strings.ContainsRune("\\`*_[]|~$#!@", c) || i == lead:
			out.WriteByte('\\')
			out.WriteRune(c)
		default:
			out.WriteRune(c)
			continue
		}
		// Hosts look for names and numbers after they have read the Markdown.
		if strings.ContainsRune("@#!", c) && i+1 < len(runes) && runes[i+1] != ' ' {
			out.WriteString("&#8203;")
		}
	}
	return out.String()
}

// leadLength is the index of the character that would make a beginning of a line
// the beginning of a list, a heading or a rule; -1 when none does.
func leadLength(runes []rune) int {
	if len(runes) == 0 {
		return -1
	}
	if strings.ContainsRune("-+=:", runes[0]) {
		return 0
	}
	for i, c := range runes {
		if c == '.' || c == ')' {
			if i > 0 {
				return i
			}
			return -1
		}
		if c < '0' || c > '9' {
			return -1
		}
	}
	return -1
}

// harmless is what needs no escape between backticks.
var harmless = regexp.MustCompile(`^[A-Za-z0-9._/:@+=,~-]+$`)

// code is text in the form of code where that is safe.
func code(s string) string {
	if harmless.MatchString(s) {
		return "`" + s + "`"
	}
	return Escape(s)
}
