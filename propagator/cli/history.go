package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// ledger is the result of history.
type ledger struct {
	Pipeline    string        `json:"pipeline"`
	Environment string        `json:"environment"`
	Branch      string        `json:"branch"`
	Entries     []ledgerEntry `json:"entries"`
}

type ledgerEntry struct {
	When         time.Time    `json:"when"`
	Event        string       `json:"event"`
	Version      string       `json:"version,omitempty"`
	From         string       `json:"from,omitempty"`
	By           string       `json:"by,omitempty"`
	SourceCommit gitrepo.Hash `json:"sourceCommit,omitempty"`
	Gates        []verdict    `json:"gates"`
	ApprovedBy   []string     `json:"approvedBy"`
	Reason       string       `json:"reason,omitempty"`
	Hold         string       `json:"hold,omitempty"`
	FrozenUntil  time.Time    `json:"frozenUntil,omitzero"`
	About        string       `json:"about,omitempty"`
	// Hotfixes are those that the environment has had, and that snapshots must
	// contain from here on; Closed those that somebody has closed or dropped.
	Hotfixes     []owedHotfix `json:"hotfixes"`
	Closed       []closure    `json:"closed"`
	Applications []evidence   `json:"applications"`
	Request      string       `json:"request,omitempty"`
	Commit       gitrepo.Hash `json:"commit"`
}

type owedHotfix struct {
	Name  string       `json:"name"`
	Base  gitrepo.Hash `json:"base"`
	Head  gitrepo.Hash `json:"head"`
	Since string       `json:"since"`
	// In is a commit of the source branch that has it.
	In gitrepo.Hash `json:"in,omitempty"`
}

type closure struct {
	Name    string       `json:"name"`
	Head    gitrepo.Hash `json:"head"`
	Dropped bool         `json:"dropped"`
	Reason  string       `json:"reason"`
}

type verdict struct {
	Gate   string `json:"gate"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

type evidence struct {
	Application string       `json:"application"`
	Destination string       `json:"destination"`
	Revision    gitrepo.Hash `json:"revision"`
	Health      string       `json:"health"`
	FinishedAt  time.Time    `json:"finishedAt,omitzero"`
	Pods        int          `json:"pods,omitempty"`
	Digests     int          `json:"digests,omitempty"`
}

func historyCommand(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history ENVIRONMENT",
		Short: "every deployment of an environment, newest first",
		Long: `history reads an environment's ledger, which is its branch: what was promoted,
from which snapshot, by whom, with which gates and approvals, and when it was
seen healthy. git log --first-parent environments/<name> shows the same.`,
		Example: `  propagator history prod
  propagator history stage -n 5 -o yaml`,
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(completeLedger),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usage(cmd, "--limit is %d; write 0 for all, or a number of entries", limit)
			}
			s, err := a.open(cmd, reading, "")
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			c, err := s.catalog(ctx)
			if err != nil {
				return err
			}
			environment, err := ledgerArgument(cmd, c.pipeline, args[0])
			if err != nil {
				return err
			}
			result := ledger{Pipeline: c.pipeline.Name, Environment: environment.Name, Branch: environment.Branch, Entries: []ledgerEntry{}}
			tip := c.refs[gitrepo.Heads+environment.Branch]
			if tip == "" {
				a.note("%s was never promoted, or its branch %s is gone: propagator status; the first time: propagator promote %s", environment.Name, environment.Branch, environment.Name)
				return a.print(result, result.table)
			}
			if err := s.Repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: limit, CommitsOnly: true}); err != nil {
				return err
			}
			commits, err := gitrepo.FirstParents(s.Repo, tip, limit)
			if err != nil {
				return err
			}
			for _, commit := range commits {
				entry, err := snapshot.ParseEntry(commit.ID, commit.Commit)
				if err != nil {
					return foreignEntry(err)
				}
				result.Entries = append(result.Entries, newLedgerEntry(entry))
			}
			return a.print(result, result.table)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "number of entries; 0 means all")
	return cmd
}

func newLedgerEntry(e snapshot.Entry) ledgerEntry {
	l := ledgerEntry{
		When: e.When, Event: string(e.Event), Version: e.Snapshot.String(), From: e.From.String(), By: e.Actor,
		SourceCommit: e.SourceCommit, Gates: verdicts(e.Gates), ApprovedBy: append([]string{}, e.ApprovedBy...),
		Reason: e.Override, Hold: e.Hold, FrozenUntil: e.Frozen, About: e.About.String(), Applications: []evidence{}, Request: e.Request.Tag, Commit: e.Commit,
		Hotfixes: []owedHotfix{}, Closed: []closure{},
	}
	for _, d := range e.Hotfixes {
		l.Hotfixes = append(l.Hotfixes, owedHotfix{d.Name, d.Base, d.Head, d.Since.String(), d.In})
	}
	for _, c := range e.Closed {
		l.Closed = append(l.Closed, closure(c))
	}
	for _, a := range e.Applications {
		l.Applications = append(l.Applications, evidence(a))
	}
	return l
}

func verdicts(gates []snapshot.Verdict) []verdict {
	all := []verdict{}
	for _, gate := range gates {
		all = append(all, verdict(gate))
	}
	return all
}

func (l ledger) table(w io.Writer) {
	var rows [][]string
	for _, e := range l.Entries {
		rows = append(rows, []string{moment(e.When), e.Event, e.Version, e.From, e.By, e.remarks(), e.Commit.Short()})
	}
	writeTable(w, []string{"WHEN", "EVENT", "VERSION", "FROM", "BY", "REMARKS", "COMMIT"}, rows)
}

// remarks are gates and approvals, and what else an event says.
func (e ledgerEntry) remarks() string {
	var all []string
	for _, gate := range e.Gates {
		all = append(all, strings.TrimSuffix(gate.Gate+" "+gate.Result+": "+gate.Detail, ": "))
	}
	if len(e.Gates) == 0 && len(e.ApprovedBy) > 0 {
		all = append(all, "approved by "+strings.Join(e.ApprovedBy, ", "))
	}
	switch snapshot.Event(e.Event) {
	case snapshot.EventPromote:
		for _, h := range e.Hotfixes {
			if h.Since == e.Version {
				all = append(all, fmt.Sprintf("hotfix %s (%s)", h.Name, h.Head.Short()))
			}
		}
	case snapshot.EventClose:
		if n := len(e.Closed); n > 0 {
			last, word := e.Closed[n-1], "closed"
			if last.Dropped {
				word = "dropped"
			}
			all = append(all, fmt.Sprintf("hotfix %s (%s) %s: %s", last.Name, last.Head.Short(), word, last.Reason))
		}
	case snapshot.EventHold:
		all = append(all, "reason: "+e.Hold)
	case snapshot.EventFreeze:
		all = append(all, "until "+moment(e.FrozenUntil))
	case snapshot.EventReject, snapshot.EventValidate:
		if e.About != e.Version {
			all = append(all, "about "+e.About)
		}
	}
	if e.Reason != "" {
		all = append(all, "reason: "+e.Reason)
	}
	if e.Request != "" {
		all = append(all, e.Request)
	}
	return strings.Join(all, "; ")
}
