package snapshot

import (
	"regexp"
	"strings"
	"unicode"
)

// Trailer is one "Key: value" line at the end of a commit message, as
// git interpret-trailers reads it.
type Trailer struct {
	Key   string
	Value string
}

// Trailers is the last paragraph of a message, in order; keys may repeat.
type Trailers []Trailer

// The trailers that Propagator writes.
const (
	trailerEvent       = "Propagator-Event"
	trailerSnapshot    = "Propagator-Snapshot"
	trailerSource      = "Propagator-Source-Commit"
	trailerTag         = "Propagator-Source-Tag"
	trailerScheduled   = "Propagator-Scheduled"
	trailerEnvironment = "Propagator-Environment"
	trailerFrom        = "Propagator-From"
	trailerSince       = "Propagator-Since"
	trailerDeployed    = "Propagator-Deployed"
	trailerHold        = "Propagator-Hold"
	trailerFrozen      = "Propagator-Frozen-Until"
	trailerAbout       = "Propagator-About"
	trailerGate        = "Propagator-Gate"
	trailerApprovedBy  = "Propagator-Approved-By"
	trailerOverride    = "Propagator-Override"
	trailerApplication = "Propagator-Application"
	trailerHotfix      = "Propagator-Hotfix"
	trailerClosed      = "Propagator-Hotfix-Closed"
	trailerOnto        = "Propagator-Onto"
	trailerActor       = "Propagator-Actor"
	trailerRequest     = "Propagator-Request"
)

// Argo CD's own names for the commit that a generated commit stems from
// (argo-cd docs, "Source Hydrator", commit trailers).
const (
	trailerReferenceSHA     = "Argocd-reference-commit-sha"
	trailerReferenceAuthor  = "Argocd-reference-commit-author"
	trailerReferenceDate    = "Argocd-reference-commit-date"
	trailerReferenceSubject = "Argocd-reference-commit-subject"
	trailerReferenceRepo    = "Argocd-reference-commit-repourl"
)

var trailerLine = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9-]*): ?(.*)$`)

// ParseTrailers reads the trailers of a commit message. A last paragraph with
// any other line in it holds no trailers.
func ParseTrailers(message string) Trailers {
	message = strings.TrimRight(strings.ReplaceAll(message, "\r\n", "\n"), "\n ")
	i := strings.LastIndex(message, "\n\n")
	if i < 0 {
		return nil
	}
	var trailers Trailers
	for line := range strings.SplitSeq(message[i+2:], "\n") {
		if m := trailerLine.FindStringSubmatch(line); m != nil {
			trailers = append(trailers, Trailer{m[1], strings.TrimSpace(m[2])})
			continue
		}
		if (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) && len(trailers) > 0 {
			trailers[len(trailers)-1].Value += " " + strings.TrimSpace(line)
			continue
		}
		return nil
	}
	return trailers
}

// Get returns the first value of a key, "" when there is none.
func (t Trailers) Get(key string) string {
	for _, trailer := range t {
		if strings.EqualFold(trailer.Key, key) {
			return trailer.Value
		}
	}
	return ""
}

// All returns every value of a key.
func (t Trailers) All(key string) []string {
	var values []string
	for _, trailer := range t {
		if strings.EqualFold(trailer.Key, key) {
			values = append(values, trailer.Value)
		}
	}
	return values
}

// add appends a trailer unless its value is empty. A value is one line: what
// people typed cannot smuggle in another trailer.
func (t *Trailers) add(key, value string) {
	if value = oneLine(value); value != "" {
		*t = append(*t, Trailer{key, value})
	}
}

// Blank reports whether nothing is left of a text that people typed once it is
// recorded: it has only space, control characters and marks of direction.
func Blank(text string) bool { return oneLine(text) == "" }

// oneLine makes text fit for a line of a commit message. Space in any form
// becomes one blank, and so do control characters: git ends a message at a NUL,
// which would hide the trailers behind it, and terminals obey escape sequences
// and marks of writing direction in git log.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// message joins a subject, an optional body and the trailers.
func (t Trailers) message(subject, body string) string {
	var b strings.Builder
	b.WriteString(oneLine(subject))
	b.WriteString("\n\n")
	if body = strings.TrimSpace(body); body != "" {
		b.WriteString(body)
		b.WriteString("\n\n")
	}
	for _, trailer := range t {
		b.WriteString(trailer.Key + ": " + trailer.Value + "\n")
	}
	return b.String()
}
