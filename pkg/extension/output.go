package extension

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText bounds in characters what a verdict repeats of what a program said.
	maxText = 200
	// maxLine bounds in bytes a line in the log, and maxLines the number of those
	// of one stream: who floods the one does not drown the other.
	maxLine  = 1 << 10
	maxLines = 200
)

// secretName is a setting that should not be one.
var secretName = regexp.MustCompile(`(?i)(secret|token|passw(or)?d|credentials?)$`)

// credential is what looks like a secret wherever it stands: a bearer token, what
// follows in a header of that name, and the user and password in a URL.
var credential = regexp.MustCompile(`(?i)(\bbearer\s+)[^\s"',;]{16,}|(\bauthorization:\s*\S+\s+)[^\s"',;]+|(://)[^/\s@]+(@)`)

// cleaner makes text of programs fit for logs and verdicts.
type cleaner struct{ values *strings.Replacer }

// newCleaner knows the values of settings that are secrets by their names.
func newCleaner(settings map[string]string) *cleaner {
	var pairs []string
	for name, value := range settings {
		if value = flatten(value); secretName.MatchString(name) && value != "" {
			pairs = append(pairs, value, "REDACTED")
		}
	}
	return &cleaner{strings.NewReplacer(pairs...)}
}

// line makes one line of text, without control and formatting characters and
// without what looks like a secret.
func (c *cleaner) line(text string) string {
	return credential.ReplaceAllString(c.values.Replace(flatten(text)), "${1}${2}${3}REDACTED${4}")
}

func flatten(text string) string {
	visible := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(visible), " ")
}

// shorten cuts text to maxText characters and shows that it did.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= maxText {
		return text
	}
	return string([]rune(text)[:maxText-1]) + "…"
}

// output logs the lines that one process prints. Its writers never fail and never
// wait, so that no program is stopped by printing too much.
type output struct {
	log   *slog.Logger
	clean *cleaner

	mu      sync.Mutex
	writers []*lines
}

// writer is for one stream of the process. Its methods may be called concurrently
// with those of the other streams.
func (o *output) writer(stream string, level slog.Level) io.Writer {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := &lines{output: o, stream: stream, level: level}
	o.writers = append(o.writers, w)
	return w
}

// flush logs what has no end of line.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.writers {
		w.end()
	}
}

type lines struct {
	output *output
	stream string
	level  slog.Level
	// line is what came since the last end of line, at most maxLine bytes of it.
	line []byte
	// ended counts the lines.
	ended int
}

func (w *lines) Write(b []byte) (int, error) {
	w.output.mu.Lock()
	defer w.output.mu.Unlock()
	for rest := b; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		w.line = append(w.line, part[:min(len(part), maxLine-len(w.line))]...)
		if ended {
			w.end()
		}
		rest = after
	}
	return len(b), nil
}

func (w *lines) end() {
	text := w.output.clean.line(string(w.line))
	w.line = w.line[:0]
	if text == "" {
		return
	}
	w.ended++
	switch {
	case w.ended < maxLines:
		w.output.log.Log(context.Background(), w.level, text, "stream", w.stream)
	case w.ended == maxLines:
		w.output.log.Info("the plugin prints more than is logged", "stream", w.stream, "lines", maxLines)
	}
}
