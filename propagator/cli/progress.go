package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/fleeting-taas/propagator/pkg/mirror"
)

// redraw is how often the progress line changes at most; faster is unreadable.
const redraw = 100 * time.Millisecond

// progress is one line on a terminal, redrawn while images are copied. Without
// a terminal it is silent. It is safe for concurrent use.
type progress struct {
	w     io.Writer // nil: silent
	width int

	mu    sync.Mutex // guards the rest
	drawn time.Time
	shown bool
}

func (a *app) newProgress() *progress {
	file, ok := a.stderr.(*os.File)
	if !ok || a.quiet || a.verbose || !term.IsTerminal(int(file.Fd())) {
		return &progress{}
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		width = 80
	}
	return &progress{w: file, width: width}
}

func (p *progress) update(step string, now mirror.Progress) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now()
	if at.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = at
	line := []rune(progressLine(step, now))
	// A line that wraps could not be redrawn.
	if len(line) >= p.width {
		line = line[:max(p.width-1, 0)]
	}
	p.shown = true
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", string(line))
}

// close wipes the line, so that what is printed next stands alone.
func (p *progress) close() {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func progressLine(step string, now mirror.Progress) string {
	return fmt.Sprintf("%s: manifests %d/%d, blobs %d/%d, %s of %s", printable(step),
		now.Manifests, now.ManifestsTotal, now.Blobs, now.BlobsTotal, size(now.Bytes), size(now.BytesTotal))
}

// size writes a number of bytes as people read it.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, units := float64(bytes)/unit, "KMGTPE"
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
