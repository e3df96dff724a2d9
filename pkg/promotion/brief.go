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
	// address is a URL, or what stands in its place, to the next space or quote.
	address = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"']*`)
	// header is a header that lets somebody in, and what it says.
	header = regexp.MustCompile(`(?i)\b(authorization: *(?:(?:bearer|basic|digest|negotiate|token) +)?)[^\s"']+`)
	// token is a token as a header has it. The word is also one of plain English,
	// so what comes behind it must look like none.
	token = regexp.MustCompile(`(?i)\b(?:(bearer|basic) +[A-Za-z0-9+/._~=-]{8,}|(token) +(?:[A-Za-z+/.~=-]*[0-9_][A-Za-z0-9+/._~=-]*|[A-Za-z+/.~=-]{20,}))`)
	// setting is a secret with its name.
	setting = regexp.MustCompile(`(?i)((?:password|passwd|token|secret)=)\S+`)
	// digestBehind is a digest behind an @, which is no host.
	digestBehind = regexp.MustCompile(`^sha(?:256|512):[0-9a-f]`)
)

// brief is the first line of a message that somebody else wrote (Argo CD, a
// kubelet, a registry), shortened, without control characters, and without what
// could be a secret in it (I9).
func brief(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	text = address.ReplaceAllStringFunc(text, public)
	text = header.ReplaceAllString(text, "${1}REDACTED")
	text = token.ReplaceAllString(text, "$1$2 REDACTED")
	text = setting.ReplaceAllString(text, "${1}REDACTED")
	if letters := []rune(text); len(letters) > maxBrief {
		text = string(letters[:maxBrief-1]) + "…"
	}
	return text
}

// public is a URL without query, which may be a signature that lets anybody in,
// and without what stands before its host. A password in it may have any
// character, also those that end one: everything up to the last @ goes, unless a
// digest follows that.
func public(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	for i := strings.LastIndexByte(rest, '@'); i >= 0; i = strings.LastIndexByte(rest[:i], '@') {
		if !digestBehind.MatchString(rest[i+1:]) {
			rest = rest[i+1:]
			break
		}
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest
}
