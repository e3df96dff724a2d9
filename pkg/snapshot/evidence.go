package snapshot

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Evidence is the observed state of one Application.
type Evidence struct {
	Application string
	Destination string
	Revision    gitrepo.Hash
	Health      string
	FinishedAt  time.Time
	// Pods is how many Pods were seen to run what the lock says, Digests how many
	// of its digests their runtimes confirmed. Zero where Pods are not visible.
	Pods    int
	Digests int
}

// line is the evidence as the ledger records it, words between blanks:
//
//	orders destination=in-cluster/shop-stage revision=3f2a… health=Healthy finished=2026-03-01T12:00:00Z pods=2 digests=1
func (e Evidence) line() string {
	line := fmt.Sprintf("%s destination=%s revision=%s health=%s finished=%s",
		word(e.Application), word(e.Destination), word(string(e.Revision)), word(e.Health), timestamp(e.FinishedAt))
	if e.Pods > 0 {
		line += fmt.Sprintf(" pods=%d digests=%d", e.Pods, e.Digests)
	}
	return line
}

// word escapes what would end a word, as in a URL: Argo CD's names of clusters
// may have blanks.
func word(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c == '%' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func parseEvidence(line string) (Evidence, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return Evidence{}, errors.New("empty evidence")
	}
	for i, field := range fields {
		unescaped, err := url.PathUnescape(field)
		if err != nil {
			return Evidence{}, err
		}
		fields[i] = unescaped
	}
	e := Evidence{Application: fields[0]}
	var err error
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "destination":
			e.Destination = value
		case "revision":
			e.Revision = gitrepo.Hash(value)
		case "health":
			e.Health = value
		case "finished":
			if err := parseTimestamp(&e.FinishedAt, value); err != nil {
				return e, err
			}
		case "pods":
			if e.Pods, err = strconv.Atoi(value); err != nil {
				return e, fmt.Errorf("pods=%s is not a number", value)
			}
		case "digests":
			if e.Digests, err = strconv.Atoi(value); err != nil {
				return e, fmt.Errorf("digests=%s is not a number", value)
			}
		}
	}
	return e, nil
}
