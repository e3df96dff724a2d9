package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is how many characters of a value from the file a message repeats.
const maxShown = 80

// clip shortens a value for a message and removes credentials.
func clip(s string) string {
	s = shown(s)
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// quote is clip in quotation marks.
func quote(s string) string { return strconv.Quote(shown(s)) }

// shown cuts a value to a length that fits a message. Whatever stands before
// an @ is left out, because in a URL that is where people put passwords.
func shown(s string) string {
	if at := strings.LastIndex(s, "@"); at > 0 {
		scheme, _, ok := strings.Cut(s[:at], "://")
		if ok {
			scheme += "://"
		} else {
			scheme = ""
		}
		s = scheme + "…" + s[at:]
	}
	if utf8.RuneCountInString(s) > maxShown {
		s = string([]rune(s)[:maxShown]) + "…"
	}
	return s
}

// or joins alternatives: "a, b or c".
func or(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// nearest returns the candidate that word is most likely a misspelling of, or
// "" when none is close.
func nearest(word string, candidates []string) string {
	if len(word) > 64 || len(candidates) > 100 {
		return ""
	}
	best, distance := "", 1+max(1, len(word)/3)
	for _, candidate := range candidates {
		if d := edits(strings.ToLower(word), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements between two words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
