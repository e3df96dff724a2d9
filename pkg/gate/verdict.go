package gate

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText bounds in characters what a verdict repeats of what others wrote.
const maxText = 200

func unknown(format string, args ...any) Verdict {
	return Verdict{Result: Unknown, Detail: fmt.Sprintf(format, args...)}
}

func passUntil(until time.Time, format string, args ...any) Verdict {
	return Verdict{Result: Pass, Detail: fmt.Sprintf(format, args...), Until: until}
}

func waitUntil(until time.Time, format string, args ...any) Verdict {
	return Verdict{Result: Wait, Detail: fmt.Sprintf(format, args...), Until: until}
}

// settle keeps a verdict from passing after the context has ended: whoever asked
// has stopped to listen, and may have begun again.
func settle(ctx context.Context, v Verdict) Verdict {
	if v.Result == Pass && ctx.Err() != nil {
		return unknown("broken off")
	}
	return v
}

// oneLine makes text of others fit for a person's terminal: one line without
// control and formatting characters, of at most maxText characters.
func oneLine(text string) string { return cut(flatten(text)) }

// flatten makes one line of text: each run of white space is one space, and what
// cannot be seen is left out.
func flatten(text string) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r) || r == '\u2028' || r == '\u2029':
			space = true
			continue
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			continue
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		space = false
	}
	return b.String()
}

// cut shortens text to maxText characters and shows that it did.
func cut(text string) string {
	if utf8.RuneCountInString(text) <= maxText {
		return text
	}
	return string([]rune(text)[:maxText-1]) + "…"
}
