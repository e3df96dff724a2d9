package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/merge"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// hotfixList is the result of hotfix list.
type hotfixList struct {
	Pipeline string          `json:"pipeline"`
	Hotfixes []hotfixDetails `json:"hotfixes"`
	// Done is how many were left out, because nobody has to do anything about them.
	Done int `json:"done"`

	places []string
}

// hotfixDetails is one hotfix and where it has got to.
type hotfixDetails struct {
	Name string       `json:"name"`
	Head gitrepo.Hash `json:"head"`
	Base gitrepo.Hash `json:"base,omitempty"`
	// From is the snapshot it was cut from, Since the first that has it.
	From  string `json:"from,omitempty"`
	Since string `json:"since,omitempty"`
	// Open: there is a branch.
	Open  bool   `json:"open"`
	State string `json:"state"`
	// Reason is why: what is wrong with the branch, or what somebody has said.
	Reason      string    `json:"reason,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Author      string    `json:"author,omitempty"`
	CommittedAt time.Time `json:"committedAt,omitzero"`
	AgeSeconds  int64     `json:"ageSeconds"`
	// Overdue: it is older than hotfixes.warnAfter, and still owed.
	Overdue bool `json:"overdue"`
	// Shipped are the environments that have had it.
	Shipped []string      `json:"shipped"`
	Places  []hotfixPlace `json:"places"`
	LeftOut []leftOut     `json:"leftOut"`
	// Due is what the hook does next by itself.
	Due  []string `json:"due"`
	Next string   `json:"next,omitempty"`
	// Commits of the branch, newest first; only in hotfix show.
	Commits []hotfixCommit `json:"commits,omitempty"`
	// PullRequest, where hotfixes.backMerge is pr and the source branch lacks it;
	// only in hotfix show.
	PullRequest *pullRequestSeen `json:"pullRequest,omitempty"`
}

type hotfixCommit struct {
	Commit  gitrepo.Hash `json:"commit"`
	Subject string       `json:"subject"`
	Author  string       `json:"author"`
	When    time.Time    `json:"when"`
}

// hotfixPlace is whether a hotfix is in one place.
type hotfixPlace struct {
	Place   string `json:"place"`
	Version string `json:"version,omitempty"`
	// Required: the place runs the hotfix's line or a newer one.
	Required bool   `json:"required"`
	Answer   string `json:"answer"`
	// Evidence, and the Commit that is it.
	Evidence  string         `json:"evidence,omitempty"`
	Commit    gitrepo.Hash   `json:"commit,omitempty"`
	Changes   []string       `json:"changes"`
	Conflicts []conflictSeen `json:"conflicts"`
}

// leftOut is a composition without the hotfix.
type leftOut struct {
	Version string `json:"version"`
	// Against is the hotfix that it conflicts with; empty when that is the release.
	Against   string         `json:"against,omitempty"`
	Conflicts []conflictSeen `json:"conflicts"`
	// Note is more about it: that the branch was rewritten, and how to go on.
	Note string `json:"note,omitempty"`
}

type conflictSeen struct {
	Path string `json:"path"`
	// Text says all of it in one line.
	Text   string       `json:"text"`
	Ours   conflictSide `json:"ours"`
	Theirs conflictSide `json:"theirs"`
}

type conflictSide struct {
	Side  string   `json:"side"`
	First int      `json:"first"`
	Last  int      `json:"last"`
	Lines []string `json:"lines"`
}

func hotfixListCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "hotfixes, and in which places they are",
		Long: `list shows every hotfix that is open or owed: its age, the environments that have
had it, and whether the source branch and what each environment runs contains it:
yes, no, unknown (the same lines were changed, and nothing shows that the fix was
there), or reverted. --all adds those that are everywhere, closed or dropped.`,
		Example: `  propagator hotfix list
  propagator hotfix list -o json | jq '.hotfixes[] | select(.state == "debt") | .name'`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those about which nobody has to do anything")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := a.open(cmd, reading, "")
		if err != nil {
			return err
		}
		state, err := s.Observe(cmd.Context())
		if err != nil {
			return err
		}
		result := hotfixesOf(state, all)
		return a.print(result, result.table)
	}
	return cmd
}

// hotfixesOf lists the hotfixes, or those only about which somebody has to do
// something.
func hotfixesOf(state *promotion.State, all bool) hotfixList {
	list := hotfixList{Pipeline: state.Pipeline.Name, Hotfixes: []hotfixDetails{}, places: []string{state.Pipeline.Source.Branch}}
	for _, e := range state.Environments {
		list.places = append(list.places, e.Name)
	}
	for _, h := range state.Hotfixes {
		if !all && h.State().Done() {
			list.Done++
			continue
		}
		list.Hotfixes = append(list.Hotfixes, newHotfixDetails(state, h))
	}
	return list
}

func newHotfixDetails(state *promotion.State, h promotion.Hotfix) hotfixDetails {
	d := hotfixDetails{
		Name: h.Name, Head: h.Head, Base: h.Base, From: h.From.String(), Since: h.Since.String(), Open: h.Open, State: string(h.State()),
		Subject: h.Subject, Author: h.Author, CommittedAt: h.When.UTC(), AgeSeconds: int64(h.Age(state.Now).Seconds()),
		Shipped: append([]string{}, h.Owed...), Places: []hotfixPlace{}, LeftOut: []leftOut{}, Due: []string{}, Next: nextForHotfix(state, h),
	}
	if h.When.IsZero() {
		d.CommittedAt = time.Time{}
	}
	d.Overdue = slices.ContainsFunc(state.Warnings, func(w promotion.Wait) bool {
		return w.Reason == promotion.BackMergeOwed && w.Environment == hotfixPrefix+h.Name && w.Version == d.Since
	})
	switch {
	case h.Closed != nil:
		d.Reason = h.Closed.Reason
	case h.Fault != "":
		d.Reason = fmt.Sprintf("%s: %s", h.Fault, h.Detail)
	}
	lacking := h.Lacking()
	for _, w := range h.In {
		required := w.Answer == hotfix.Contained || slices.ContainsFunc(lacking, func(l promotion.Whereabouts) bool { return l.Place == w.Place })
		d.Places = append(d.Places, newHotfixPlace(w, required))
	}
	for _, onto := range slices.SortedFunc(maps.Keys(h.Left), snapshot.Version.Compare) {
		left := h.Left[onto]
		d.LeftOut = append(d.LeftOut, leftOut{Version: onto.String(), Against: left.Against, Conflicts: conflictsSeen(left.Conflicts), Note: left.Note})
	}
	for _, step := range promotion.Plan(state).Steps {
		if slices.ContainsFunc(step.Hotfixes, func(other snapshot.Hotfix) bool { return other.Head == h.Head }) {
			d.Due = append(d.Due, step.String())
		}
	}
	return d
}

func newHotfixPlace(w promotion.Whereabouts, required bool) hotfixPlace {
	p := hotfixPlace{
		Place: w.Place, Version: w.Version.String(), Required: required, Answer: string(w.Answer), Evidence: string(w.Evidence),
		Commit: w.Commit, Changes: []string{}, Conflicts: conflictsSeen(w.Conflicts),
	}
	if w.Answer != hotfix.Contained {
		for _, change := range w.Changes {
			p.Changes = append(p.Changes, change.Path)
		}
	}
	return p
}

func conflictsSeen(conflicts []merge.Conflict) []conflictSeen {
	seen := []conflictSeen{}
	for _, c := range conflicts {
		seen = append(seen, conflictSeen{Path: c.Path, Text: c.String(), Ours: newSide(c.Ours), Theirs: newSide(c.Theirs)})
	}
	return seen
}

func newSide(s merge.Side) conflictSide {
	return conflictSide{Side: s.Name, First: s.First, Last: s.Last, Lines: append([]string{}, s.Lines...)}
}

// nextForHotfix is what to type about a hotfix; empty when there is nothing, or
// when the reason says it.
func nextForHotfix(state *promotion.State, h promotion.Hotfix) string {
	name := h.Name
	if _, err := state.FindHotfix(name); err != nil {
		name += "@" + h.Head.Short() // there are several of that name
	}
	switch h.State() {
	case promotion.StateEmpty:
		return "git fetch && git switch " + hotfixPrefix + h.Name
	case promotion.StateConflict:
		onto := slices.SortedFunc(maps.Keys(h.Left), snapshot.Version.Compare)[0]
		with := onto.String()
		if other := h.Left[onto].Against; other != "" && slices.ContainsFunc(state.Hotfixes, func(o promotion.Hotfix) bool { return o.Name == other && o.Open }) {
			with = "origin/" + hotfixPrefix + other
		}
		branch := hotfixPrefix + h.Name
		if !h.Open { // somebody has deleted it, and its commits are in the patch
			branch = "-c " + branch + " " + h.Head.Short()
		}
		return fmt.Sprintf("git fetch --tags && git switch %s && git merge %s", branch, with)
	case promotion.StateOpen, promotion.StateComposed, promotion.StateShipped:
		return "propagator hotfix promote " + name
	case promotion.StateDebt:
		for _, w := range h.In {
			if w.Version.IsZero() && w.Answer == hotfix.Unknown {
				return fmt.Sprintf("git switch %s && git cherry-pick -x --no-merges %s..%s", w.Place, h.Base.Short(), h.Head.Short())
			}
		}
		return "propagator hotfix finish " + name
	case promotion.StateUnusable, promotion.StateContained, promotion.StateClosed, promotion.StateDropped:
	}
	return ""
}

func (l hotfixList) table(w io.Writer) {
	if len(l.Hotfixes) > 0 {
		header := []string{"NAME", "FROM", "HEAD", "AGE", "SHIPPED"}
		for _, place := range l.places {
			header = append(header, strings.ToUpper(place))
		}
		var rows [][]string
		for _, h := range l.Hotfixes {
			row := []string{h.Name, h.From, h.Head.Short(), h.age(), h.shipped()}
			for _, place := range l.places {
				row = append(row, h.in(place))
			}
			rows = append(rows, append(row, h.stateText()))
		}
		writeTable(w, append(header, "STATE"), rows)
	}
	switch {
	case len(l.Hotfixes) == 0 && l.Done == 0:
		_, _ = fmt.Fprintln(w, "there is no hotfix; the first one: propagator hotfix start NAME")
	case l.Done > 0:
		_, _ = fmt.Fprintf(w, "not shown: %d done (--all)\n", l.Done)
	}
}

// age is a duration for a table.
func (h hotfixDetails) age() string {
	if h.CommittedAt.IsZero() || h.State == string(promotion.StateEmpty) {
		return ""
	}
	return ageText(time.Duration(h.AgeSeconds) * time.Second)
}

// ageText is a duration in its largest unit.
func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

func (h hotfixDetails) shipped() string {
	if len(h.Shipped) == 0 {
		return ""
	}
	return strings.Join(h.Shipped, ", ") + " since " + h.Since
}

// in is the answer of one place, for a table.
func (h hotfixDetails) in(place string) string {
	words := map[hotfix.Answer]string{hotfix.Contained: "yes", hotfix.Missing: "no", hotfix.Reverted: "reverted", hotfix.Unknown: "unknown"}
	for _, p := range h.Places {
		if p.Place == place && p.Required {
			return words[hotfix.Answer(p.Answer)]
		}
	}
	return ""
}

// stateText is the state and why, shortly.
func (h hotfixDetails) stateText() string {
	switch promotion.HotfixState(h.State) {
	case promotion.StateEmpty:
		return "nothing is on it yet"
	case promotion.StateOpen, promotion.StateComposed:
		text := h.State
		if h.Since != "" {
			text += " " + h.Since
		}
		if len(h.Due) > 0 {
			text += "; due: " + strings.Join(h.Due, "; ")
		}
		return text
	case promotion.StateConflict:
		left := h.LeftOut[0]
		with := left.Version
		if left.Against != "" {
			with = hotfixPrefix + left.Against
		}
		if len(left.Conflicts) == 0 {
			return "conflict with " + with
		}
		return fmt.Sprintf("conflict with %s in %s", with, left.Conflicts[0].Path)
	case promotion.StateUnusable:
		fault, _, _ := strings.Cut(h.Reason, ":")
		return "unusable: " + fault
	case promotion.StateClosed, promotion.StateDropped:
		return h.State + ": " + h.Reason
	case promotion.StateContained:
		if h.Since == "" {
			return "every environment has it already"
		}
		return "contained everywhere"
	case promotion.StateShipped, promotion.StateDebt:
	}
	return h.State
}
