package promotion

import (
	"regexp"
	"strings"
	"unicode"
)

// maxBrief bounds a message of somebody else's, in characters: one line of a
// terminal or three.
const maxBrief = 240

var (
	// urlUser is what stands before the host in a URL: user, password, token.
	urlUser = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s"']*@`)
	// urlQuery is a URL's query, which may be a signature that lets anybody in.
	urlQuery = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'?]*)\?[^\s"']*`)
	// bearer is a token as a header has it.
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic) +[A-Za-z0-9+/._~=-]{8,}`)
)

// brief is the first line of a message that somebody else wrote (Argo CD, a
// kubelet, a registry), shortened, without control characters, and without what
// could be a secret in it (I9).
func brief(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = urlUser.ReplaceAllString(text, "$1")
	text = urlQuery.ReplaceAllString(text, "$1")
	text = bearer.ReplaceAllString(text, "$1 REDACTED")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	if letters := []rune(text); len(letters) > maxBrief {
		text = string(letters[:maxBrief-1]) + "…"
	}
	return text
}
