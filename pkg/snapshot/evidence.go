package snapshot

import (
	"errors"
	"fmt"
	"net/url"
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
}

// line is the evidence as the ledger records it, words between blanks:
//
//	orders destination=in-cluster/shop-stage revision=3f2a… health=Healthy finished=2026-03-01T12:00:00Z
func (e Evidence) line() string {
	return fmt.Sprintf("%s destination=%s revision=%s health=%s finished=%s",
		word(e.Application), word(e.Destination), word(string(e.Revision)), word(e.Health), timestamp(e.FinishedAt))
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
		}
	}
	return e, nil
}
