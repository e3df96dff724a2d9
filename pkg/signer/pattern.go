package signer

import (
	"slices"
	"strings"
)

// matchList is OpenSSH's pattern list: one pattern has to match, and none that
// begins with an exclamation mark. Letters match in their own case only.
func matchList(text, list string) bool {
	matched := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		switch {
		case pattern == "" || !match(text, pattern):
		case negated:
			return false
		default:
			matched = true
		}
	}
	return matched
}

// match compares with one pattern, in which * is any text and ? one byte. It
// only ever goes back to the last star, so no pattern is slow.
func match(text, pattern string) bool {
	t, p, star, retry := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			t, p = t+1, p+1
		case star >= 0:
			retry++
			t, p = retry, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// allowsAnybody is false of a list that only takes away.
func allowsAnybody(list string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(pattern string) bool {
		return pattern != "" && pattern[0] != '!'
	})
}
