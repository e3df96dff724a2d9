package changes

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

const (
	// maxPatched is the size in bytes from which a file's lines are not compared:
	// nobody reads that.
	maxPatched = 1 << 20
	// patchContext is how many unchanged lines stand around what changed.
	patchContext = 3
)

// secretText finds what gives a Secret its values: the object itself, as YAML or
// JSON, in a template or not, and kustomize's generator. A file in which it
// stands is not shown.
var secretText = regexp.MustCompile(`(?m)["']?\bkind["']?\s*:\s*["']?Secret\b|\bsecretGenerator\b`)

// Patch returns how the lines of a file changed, as a unified diff. For a file
// that is not shown the text is empty and omitted says why; both are empty where
// no content changed.
func Patch(r gitrepo.Objects, f File) (text, omitted string, err error) {
	if f.before.id == f.after.id {
		return "", "", nil
	}
	old, why, err := content(r, f.before)
	if err != nil || why != "" {
		return "", why, err
	}
	now, why, err := content(r, f.after)
	if err != nil || why != "" {
		return "", why, err
	}
	if secretText.MatchString(old) || secretText.MatchString(now) {
		return "", "it has a Secret", nil
	}
	from, to := "a/"+f.Path, "b/"+f.Path
	if f.before.id == "" {
		from = "/dev/null"
	}
	if f.after.id == "" {
		to = "/dev/null"
	}
	return unified(from, to, old, now), "", nil
}

// content reads a side of a file as text.
func content(r gitrepo.Objects, b blob) (text, omitted string, err error) {
	switch b.mode {
	case "":
		return "", "", nil
	case gitrepo.ModeSubmodule:
		return "", "it is a submodule", nil
	}
	o, err := r.Object(b.id)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("read file %s: %w", b.id.Short(), err)
	case o.Type != gitrepo.TypeBlob:
		return "", "", errors.New("object " + b.id.Short() + " is no file")
	case bytes.IndexByte(o.Data, 0) >= 0 || !utf8.Valid(o.Data):
		return "", "it is no text", nil
	case len(o.Data) > maxPatched:
		return "", fmt.Sprintf("it is larger than %d KiB", maxPatched>>10), nil
	}
	return string(o.Data), "", nil
}

// unified is the difference of two texts in the form of diff -u; empty when they
// are equal.
func unified(from, to, old, now string) string {
	a, b := merge.Lines(old), merge.Lines(now)
	hunks := merge.DiffLines(a, b)
	if len(hunks) == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	for len(hunks) > 0 {
		// Hunks whose contexts touch are shown as one.
		n := 1
		for n < len(hunks) && hunks[n].OldStart-hunks[n-1].OldEnd <= 2*patchContext {
			n++
		}
		section(&out, a, b, hunks[:n])
		hunks = hunks[n:]
	}
	return out.String()
}

func section(out *strings.Builder, a, b []string, hunks []merge.Hunk) {
	first, last := hunks[0], hunks[len(hunks)-1]
	before := min(patchContext, first.OldStart)
	after := min(patchContext, len(a)-last.OldEnd)
	fmt.Fprintf(out, "@@ -%s +%s @@\n",
		span(first.OldStart-before, last.OldEnd+after), span(first.NewStart-before, last.NewEnd+after))
	at := first.OldStart - before
	for _, h := range hunks {
		lines(out, " ", a[at:h.OldStart])
		lines(out, "-", a[h.OldStart:h.OldEnd])
		lines(out, "+", b[h.NewStart:h.NewEnd])
		at = h.OldEnd
	}
	lines(out, " ", a[at:at+after])
}

// span is a range of lines as diff -u counts them: from 1, and an empty one
// begins at the line before.
func span(start, end int) string {
	switch end - start {
	case 0:
		return fmt.Sprintf("%d,0", start)
	case 1:
		return fmt.Sprint(start + 1)
	}
	return fmt.Sprintf("%d,%d", start+1, end-start)
}

func lines(out *strings.Builder, mark string, all []string) {
	for _, line := range all {
		out.WriteString(mark)
		out.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
