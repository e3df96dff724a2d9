package demo

import (
	"fmt"
	"io"
	"time"
)

// progress tells the story while it happens.
type progress struct {
	w        io.Writer
	terminal bool
}

func (p *progress) begin(n, of int, title string) {
	if p.terminal {
		// The line is finished, or rewritten, when the step ends.
		_, _ = fmt.Fprintf(p.w, "  %2d/%d  %s …", n, of, title)
		return
	}
	_, _ = fmt.Fprintf(p.w, "  %2d/%d  %s\n", n, of, title)
}

func (p *progress) done(detail string, took time.Duration) {
	if p.terminal {
		_, _ = fmt.Fprintf(p.w, "\b \n")
	}
	_, _ = fmt.Fprintf(p.w, "         → %s (%s)\n", detail, took.Round(time.Millisecond))
}

func (p *progress) failed() {
	if p.terminal {
		_, _ = fmt.Fprintln(p.w)
	}
}
