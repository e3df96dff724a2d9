package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	// What an error shows of a log: enough for a panic's message and its cause.
	tailLines = 25
	tailBytes = 8 << 10
)

// openLog opens the log for the child and notes where its part begins. It
// returns nil when there is none.
func (p *Process) openLog() (*os.File, error) {
	if p.spec.Log == "" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(p.spec.Log), 0o750); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p.offset = end
	return log, nil
}

// LogPath is the file that the program's output is appended to, empty when it
// is lost. Earlier programs with the same log stand before it.
func (p *Process) LogPath() string { return p.spec.Log }

// LogContains says whether this program, not an earlier one with the same log,
// has written s. It is false when there is no log.
func (p *Process) LogContains(s string) bool {
	text, err := p.readLog()
	return err == nil && bytes.Contains(text, []byte(s))
}

// readLog returns what this program has written.
func (p *Process) readLog() ([]byte, error) {
	if p.spec.Log == "" {
		return nil, os.ErrNotExist
	}
	log, err := os.Open(p.spec.Log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	if _, err := log.Seek(p.offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(log)
}

// logTail is the end of the log as an appendix to an error.
func (p *Process) logTail() string {
	text, err := p.readLog()
	if err != nil {
		return ""
	}
	text = bytes.TrimSpace(lastLines(text, tailLines, tailBytes))
	if len(text) == 0 {
		return fmt.Sprintf(" (it wrote nothing to %s)", p.spec.Log)
	}
	return fmt.Sprintf("\nthe end of %s:\n%s", p.spec.Log, text)
}

// lastLines returns the last complete lines of text, at most limit bytes.
func lastLines(text []byte, lines, limit int) []byte {
	text = bytes.TrimRight(text, "\n")
	start := len(text)
	for range lines {
		newline := bytes.LastIndexByte(text[:start], '\n')
		if len(text)-newline-1 > limit {
			if start == len(text) {
				// One line that is too long by itself: its end is better than nothing.
				return text[len(text)-limit:]
			}
			break
		}
		start = newline
		if newline < 0 {
			break
		}
	}
	return text[start+1:]
}
