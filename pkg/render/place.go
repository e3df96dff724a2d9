package render

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// place is an error with a position, before the application is known.
type place struct {
	file string
	line int
	err  error
}

func (p *place) Error() string {
	if p.line > 0 {
		return fmt.Sprintf("%s:%d: %v", p.file, p.line, p.err)
	}
	return fmt.Sprintf("%s: %v", p.file, p.err)
}

func (p *place) Unwrap() error { return p.err }

// at puts err into a file. An error that already has a place keeps it; a
// syntax error brings its own line.
func at(file string, line int, err error) error {
	if err == nil {
		return nil
	}
	var known *place
	if errors.As(err, &known) {
		return err
	}
	var syntax *syntaxError
	if errors.As(err, &syntax) && syntax.line > 0 {
		line = syntax.line
	}
	return &place{file: file, line: line, err: err}
}

func atf(file string, line int, format string, args ...any) error {
	return at(file, line, fmt.Errorf(format, args...))
}

// asError makes the exported form.
func asError(application string, err error) *Error {
	var known *place
	if errors.As(err, &known) {
		return &Error{Application: application, File: known.file, Line: known.line, Err: known.err}
	}
	return &Error{Application: application, Err: err}
}

// sourceOf turns an error in rendered text into one that names where the text
// comes from: Helm writes the template above each document, and the YAML
// renderer checks its files one by one before it joins them.
func sourceOf(t *tree, app config.Application, text []byte, err error) error {
	var syntax *syntaxError
	if app.Renderer != config.RendererHelm || !errors.As(err, &syntax) || syntax.line == 0 {
		return fmt.Errorf("rendered text: %w", err)
	}
	const mark = "# Source: "
	source := ""
	for n, line := range bytes.Split(text, []byte("\n")) {
		if n >= syntax.line {
			break
		}
		if bytes.HasPrefix(line, []byte(mark)) {
			source = string(line[len(mark):])
		}
	}
	file := templateFile(t, app.Path, source)
	if file == "" {
		return fmt.Errorf("rendered text: %w", err)
	}
	return &place{file: file, err: fmt.Errorf("rendered text: %w", err)}
}

// templateFile maps Helm's name of a template (chart name first) to the file
// in the repository; "" if there is none, as for a subchart in an archive.
func templateFile(t *tree, dir, name string) string {
	_, rest, ok := strings.Cut(name, "/")
	if !ok {
		return ""
	}
	file := join(dir, rest)
	if info, err := t.stat(file); err != nil || info.IsDir() {
		return ""
	}
	return file
}

// panicSite is the first function outside the runtime on a stack trace.
func panicSite(stack []byte) string {
	_, after, _ := strings.Cut(string(stack), "panic(")
	for _, line := range strings.Split(after, "\n") {
		if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "runtime.") || !strings.Contains(line, "(") || strings.HasPrefix(line, "{") {
			continue
		}
		if i := strings.LastIndex(line, "("); i > 0 && strings.Contains(line, "/") {
			return line[:i]
		}
	}
	return "an unknown place"
}

var credentials = regexp.MustCompile(`//[^/@\s]*@`)

// redacted is a URL without user, password and query.
func redacted(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return credentials.ReplaceAllString(url, "//")
}
