package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Event is what a ledger entry records.
type Event string

// The events.
const (
	// EventOpen begins an environment's ledger with an empty tree.
	EventOpen Event = "open"
	// EventPromote: the environment now points at a newer snapshot.
	EventPromote Event = "promote"
	// EventDeployed: the snapshot was seen synced and healthy everywhere.
	EventDeployed Event = "deployed"
	// EventRollback: the environment points at an older snapshot, on hold.
	EventRollback Event = "rollback"
	// EventHold: automation leaves the environment alone until it is resumed.
	EventHold Event = "hold"
	// EventFreeze: nobody promotes there until a given time.
	EventFreeze Event = "freeze"
	// EventResume ends a hold and a freeze.
	EventResume Event = "resume"
	// EventReject: a snapshot is not wanted there, nor in any later environment.
	EventReject Event = "reject"
	// EventValidate: somebody has tested a snapshot there, and says how it went.
	EventValidate Event = "validate"
	// EventClose: somebody says that a hotfix is no debt any more.
	EventClose Event = "close"
	// EventRefuse: a person's signed request was not carried out, and never will be.
	EventRefuse Event = "refuse"
)

// Moves reports whether an event makes the environment point at something else.
func (e Event) Moves() bool { return e == EventPromote || e == EventRollback }

// notes are the events that change nothing that runs: they may come before
// anything was promoted.
func (e Event) notes() bool {
	switch e {
	case EventHold, EventFreeze, EventResume, EventReject, EventValidate, EventRefuse, EventClose:
		return true
	}
	return false
}

// Entry is one commit of an environment's ledger. Besides what happened, it
// carries the environment's whole state, so the newest entry is enough.
type Entry struct {
	// Commit is the entry's own id; empty for one that is not written yet.
	Commit gitrepo.Hash
	// Tree of the commit, which is the tree of the snapshot it names.
	Tree  gitrepo.Hash
	Event Event
	When  time.Time

	Environment string
	// Snapshot is what the environment points at; zero after EventOpen.
	Snapshot Version
	// SourceCommit is the snapshot's source.
	SourceCommit gitrepo.Hash
	// From is what it pointed at before.
	From Version
	// Since is when it began to point at Snapshot.
	Since time.Time
	// Deployed is when Snapshot was proven healthy here; zero: not yet.
	Deployed time.Time
	// Hold is the reason why automation must not move the environment; empty
	// when it may.
	Hold string
	// Frozen is until when nobody promotes there; zero when there is no freeze.
	Frozen time.Time
	// About is the snapshot that EventReject, EventValidate and EventRefuse speak
	// of, whatever the environment points at.
	About Version
	// Hotfixes are the debts of the environment, Closed those that are none any
	// more because somebody has said so.
	Hotfixes []Debt
	Closed   []Closure

	// Gates lists the verdicts at the moment of a promotion, or what EventValidate
	// says.
	Gates []Verdict
	// ApprovedBy lists who approved.
	ApprovedBy []string
	// Override is the reason given for going against a rule.
	Override string
	// Applications is the evidence of EventDeployed.
	Applications []Evidence
	// Actor is who made the entry: a person, or the hook.
	Actor string
	// Request is the signed tag that asked for the entry; zero when none did. No
	// other entry is made because of it.
	Request RequestRef
}

// Verdict is a gate's answer.
type Verdict struct {
	Gate   string
	Result string // pass, skip, wait or refuse
	Detail string
}

func (v Verdict) line() string {
	line := v.Gate + " " + v.Result
	if detail := oneLine(v.Detail); detail != "" {
		line += ": " + detail
	}
	return line
}

// Subject is the entry's one-line description.
func (e Entry) Subject() string {
	switch e.Event {
	case EventOpen:
		return "open " + e.Environment
	case EventDeployed:
		return fmt.Sprintf("deployed %s to %s", e.Snapshot, e.Environment)
	case EventRollback:
		return fmt.Sprintf("rollback %s to %s", e.Environment, e.Snapshot)
	case EventHold, EventResume:
		return fmt.Sprintf("%s %s", e.Event, e.Environment)
	case EventFreeze:
		return fmt.Sprintf("freeze %s until %s", e.Environment, timestamp(e.Frozen))
	case EventClose:
		if len(e.Closed) > 0 {
			return fmt.Sprintf("close hotfix %s in %s", e.Closed[len(e.Closed)-1].Name, e.Environment)
		}
		return "close " + e.Environment
	case EventReject, EventValidate:
		return fmt.Sprintf("%s %s in %s", e.Event, e.About, e.Environment)
	case EventRefuse:
		return "refuse a request about " + e.Environment
	default:
		return fmt.Sprintf("%s %s to %s", e.Event, e.Snapshot, e.Environment)
	}
}

// Message is the entry's commit message.
func (e Entry) Message() string {
	var t Trailers
	t.add(trailerEvent, string(e.Event))
	t.add(trailerEnvironment, e.Environment)
	t.add(trailerSnapshot, e.Snapshot.String())
	t.add(trailerSource, string(e.SourceCommit))
	t.add(trailerFrom, e.From.String())
	t.add(trailerSince, timestamp(e.Since))
	t.add(trailerDeployed, timestamp(e.Deployed))
	t.add(trailerHold, e.Hold)
	t.add(trailerFrozen, timestamp(e.Frozen))
	t.add(trailerAbout, e.About.String())
	for _, d := range e.Hotfixes {
		t.add(trailerHotfix, d.line())
	}
	for _, c := range e.Closed {
		t.add(trailerClosed, c.line())
	}
	for _, v := range e.Gates {
		t.add(trailerGate, v.line())
	}
	for _, who := range e.ApprovedBy {
		t.add(trailerApprovedBy, who)
	}
	t.add(trailerOverride, e.Override)
	for _, a := range e.Applications {
		t.add(trailerApplication, a.line())
	}
	t.add(trailerActor, e.Actor)
	t.add(trailerRequest, e.Request.line())
	return t.message(e.Subject(), "")
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Append makes the commit of a new entry on top of the ledger's tip. target is
// the snapshot it names; its tree is empty where nothing was promoted yet. A promotion or rollback also has the snapshot commit
// as a second parent, so that git itself shows what was merged into the
// environment. An empty tip begins the ledger with an EventOpen entry first.
func Append(tip gitrepo.Hash, entry Entry, target Snapshot, identity Identity) (gitrepo.Hash, []gitrepo.Object, error) {
	who := gitrepo.Signature{Name: identity.Name, Email: identity.Email, When: entry.When}
	var objects []gitrepo.Object
	empty, err := gitrepo.NewTree(nil)
	if err != nil {
		return "", nil, err
	}
	if target.Tree == "" && entry.Event.notes() {
		target.Tree = empty.ID()
	}
	if tip == "" {
		open := Entry{Event: EventOpen, Environment: entry.Environment, Actor: entry.Actor}
		root := gitrepo.NewCommit(gitrepo.Commit{Tree: empty.ID(), Author: who, Committer: who, Message: open.Message()})
		objects = append(objects, empty, root)
		tip = root.ID()
	}
	parents := []gitrepo.Hash{tip}
	if entry.Event.Moves() {
		parents = append(parents, target.ID)
	}
	commit := gitrepo.NewCommit(gitrepo.Commit{Tree: target.Tree, Parents: parents, Author: who, Committer: who, Message: entry.Message()})
	return commit.ID(), append(objects, commit), nil
}

// ReadEntry decodes a ledger commit that was fetched. A commit that Propagator
// did not write (no Propagator-Event) is an error: nobody else may write there.
func ReadEntry(r gitrepo.Objects, id gitrepo.Hash) (Entry, error) {
	commit, err := gitrepo.ReadCommit(r, id)
	if err != nil {
		return Entry{}, fmt.Errorf("ledger commit %s: %w", id.Short(), err)
	}
	return ParseEntry(id, commit)
}

// ParseEntry decodes a ledger commit. Propagator is author and committer of each
// at the same moment; one that somebody wrote anew with git is an error.
func ParseEntry(id gitrepo.Hash, commit gitrepo.Commit) (Entry, error) {
	t := ParseTrailers(commit.Message)
	e := Entry{
		Commit:       id,
		Tree:         commit.Tree,
		When:         commit.Committer.When.UTC(),
		Event:        Event(t.Get(trailerEvent)),
		Environment:  t.Get(trailerEnvironment),
		SourceCommit: gitrepo.Hash(t.Get(trailerSource)),
		Hold:         t.Get(trailerHold),
		ApprovedBy:   t.All(trailerApprovedBy),
		Override:     t.Get(trailerOverride),
		Actor:        t.Get(trailerActor),
	}
	wrong := func(key string, err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("ledger commit %s: trailer %s: %w", id.Short(), key, err)
	}
	switch e.Event {
	case EventOpen, EventPromote, EventDeployed, EventRollback, EventHold, EventFreeze, EventResume, EventReject, EventValidate, EventRefuse, EventClose:
	case "":
		return e, fmt.Errorf("commit %s was not written by Propagator; environment branches must be written by nobody else (protect them)", id.Short())
	default:
		return e, fmt.Errorf("ledger commit %s records the event %q, which this version does not know; upgrade Propagator", id.Short(), e.Event)
	}
	if a, c := commit.Author, commit.Committer; a.Name != c.Name || a.Email != c.Email || !a.When.Equal(c.When) {
		// As git commit --amend and git rebase leave it.
		return e, fmt.Errorf("ledger commit %s was written anew by %s <%s>; put back the one that Propagator wrote", id.Short(), oneLine(c.Name), oneLine(c.Email))
	}
	if err := errors.Join(
		wrong(trailerSnapshot, e.Snapshot.UnmarshalText([]byte(t.Get(trailerSnapshot)))),
		wrong(trailerSource, checkSource(e.SourceCommit)),
		wrong(trailerFrom, e.From.UnmarshalText([]byte(t.Get(trailerFrom)))),
		wrong(trailerSince, parseTimestamp(&e.Since, t.Get(trailerSince))),
		wrong(trailerDeployed, parseTimestamp(&e.Deployed, t.Get(trailerDeployed))),
		wrong(trailerFrozen, parseTimestamp(&e.Frozen, t.Get(trailerFrozen))),
		wrong(trailerAbout, e.About.UnmarshalText([]byte(t.Get(trailerAbout)))),
		wrong(trailerRequest, e.Request.parse(t.Get(trailerRequest))),
	); err != nil {
		return e, err
	}
	if e.Event != EventOpen && !e.Event.notes() && e.Snapshot.IsZero() || (e.Event == EventReject || e.Event == EventValidate) && e.About.IsZero() {
		return e, fmt.Errorf("ledger commit %s names no snapshot", id.Short())
	}
	for _, line := range t.All(trailerGate) {
		verdict, detail, _ := strings.Cut(line, ": ")
		gate, result, _ := strings.Cut(verdict, " ")
		e.Gates = append(e.Gates, Verdict{Gate: gate, Result: result, Detail: detail})
	}
	for _, line := range t.All(trailerHotfix) {
		debt, err := parseDebt(line)
		if err != nil {
			return e, wrong(trailerHotfix, err)
		}
		e.Hotfixes = append(e.Hotfixes, debt)
	}
	for _, line := range t.All(trailerClosed) {
		closure, err := parseClosure(line)
		if err != nil {
			return e, wrong(trailerClosed, err)
		}
		e.Closed = append(e.Closed, closure)
	}
	for _, line := range t.All(trailerApplication) {
		evidence, err := parseEvidence(line)
		if err != nil {
			return e, wrong(trailerApplication, err)
		}
		e.Applications = append(e.Applications, evidence)
	}
	return e, nil
}

func checkSource(commit gitrepo.Hash) error {
	if commit != "" && !commit.Valid() {
		return fmt.Errorf("%q is not a full commit id", commit)
	}
	return nil
}

func parseTimestamp(field *time.Time, s string) (err error) {
	if s != "" {
		*field, err = time.Parse(time.RFC3339, s)
	}
	return err
}
