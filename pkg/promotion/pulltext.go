package promotion

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/fleeting-taas/propagator/pkg/hotfix"
)

// maxPullCommits bounds the list of commits in a request.
const maxPullCommits = 50

// draft writes the request. What people wrote stands in an indented block, where
// no host takes it for Markdown, tells the people that it mentions, or closes the
// issues that it names.
func (e *Engine) draft(ctx context.Context, s *State, m BackMergeRequest) PullRequestDraft {
	h, source := m.Hotfix, s.Pipeline.Source.Branch
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s has this hotfix, and %s has not. As long as it is missing, the next release could take the fix away, and is refused.\n\n", strings.Join(h.Owed, " and "), source)
	fact := func(name, value string) {
		if value = plain(value); value != "" {
			_, _ = fmt.Fprintf(&b, "    %-9s %s\n", name, value)
		}
	}
	fact("hotfix", "hotfix/"+h.Name)
	fact("head", string(h.Head))
	fact("base", strings.TrimSuffix(string(h.Base)+", of "+h.From.String(), ", of "))
	fact("author", h.Author)
	fact("shipped", fmt.Sprintf("%s, since %s", strings.Join(h.Owed, ", "), h.Since))
	// Without the list the request is still of use.
	if log, err := hotfix.Log(ctx, e.Repo, h.Hotfix); err == nil {
		for i, c := range log {
			name := ""
			if i == 0 {
				name = "commits"
			}
			if i == maxPullCommits {
				_, _ = fmt.Fprintf(&b, "    %-9s and %d more\n", "", len(log)-i)
				break
			}
			subject, _, _ := strings.Cut(c.Message, "\n")
			_, _ = fmt.Fprintf(&b, "    %-9s %s %s\n", name, c.ID.Short(), plain(subject))
		}
	}
	_, _ = fmt.Fprintf(&b, "\nWhat settles it: %s contains the fix. Merge this, squash it, or bring the fix there in any other way; it is found. If it is not needed there, close this and say so:\n\n    propagator hotfix close %s --reason '...'\n\nClosing this alone settles nothing. It is not opened again.\n", source, h.Name)
	return PullRequestDraft{From: m.Branch, Into: source, Title: fmt.Sprintf("Merge hotfix %s back to %s", h.Name, source), Body: b.String()}
}

// maxPlain bounds a line that people wrote, in characters.
const maxPlain = 200

// plain is one line without control characters.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(slices.Collect(strings.FieldsSeq(text)), " ")
	if letters := []rune(text); len(letters) > maxPlain {
		text = string(letters[:maxPlain-1]) + "…"
	}
	return text
}
