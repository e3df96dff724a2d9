package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is what the demo came to. Its JSON form is the output of --json.
type Report struct {
	Story        []Chapter     `json:"story"`
	Environments []Environment `json:"environments"`
	// Ledger is git log --graph of the environments' branches.
	Ledger     []string    `json:"ledger"`
	Invariants []Invariant `json:"invariants"`
	Seconds    float64     `json:"seconds"`
	// PeakMemory is the process's largest resident size in bytes; 0 where the
	// system does not say.
	PeakMemory int64 `json:"peakMemoryBytes,omitempty"`
	// Kept says where the repository and the registries are, with --keep.
	Kept string `json:"kept,omitempty"`
}

// Chapter is one step of the story.
type Chapter struct {
	Title        string `json:"title"`
	Detail       string `json:"detail"`
	Milliseconds int64  `json:"milliseconds"`
}

// Environment is what an environment runs at the end.
type Environment struct {
	Name string `json:"environment"`
	// Version is the snapshot, or the source branch for the first environment.
	Version      string    `json:"version"`
	SourceCommit string    `json:"sourceCommit"`
	Images       []string  `json:"images"`
	Since        time.Time `json:"since"`
	Hold         string    `json:"hold,omitempty"`
}

// Invariant is one promise of the design and what checking it gave.
type Invariant struct {
	ID      string `json:"id"`
	Promise string `json:"promise"`
	OK      bool   `json:"ok"`
	Detail  string `json:"detail"`
}

// OK reports whether every promise was kept.
func (r *Report) OK() bool {
	for _, i := range r.Invariants {
		if !i.OK {
			return false
		}
	}
	return len(r.Invariants) > 0
}

func (r *Report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func (r *Report) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nENVIRONMENT\tVERSION\tSOURCE\tIMAGES\tSINCE\tSTATE")
	for _, e := range r.Environments {
		state := "deployed"
		if e.Hold != "" {
			state = "on hold: " + e.Hold
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.7s\t%d\t%s\t%s\n", e.Name, e.Version, e.SourceCommit, len(e.Images), e.Since.Format(time.TimeOnly), state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w, "\nThe ledgers, as git log --graph shows them:")
	for _, line := range r.Ledger {
		_, _ = fmt.Fprintln(w, "  "+line)
	}
	_, _ = fmt.Fprintln(w, "\nThe promises, checked against the live git repository and registries:")
	for _, i := range r.Invariants {
		mark := "ok  "
		if !i.OK {
			mark = "FAIL"
		}
		_, _ = fmt.Fprintf(w, "  %s  %s  %s\n            %s\n", mark, i.ID, i.Promise, i.Detail)
	}
	_, _ = fmt.Fprintf(w, "\nDone in %.1f s", r.Seconds)
	if r.PeakMemory > 0 {
		_, _ = fmt.Fprintf(w, ", at most %d MiB of memory", r.PeakMemory>>20)
	}
	_, err := fmt.Fprintln(w, ".")
	return err
}
