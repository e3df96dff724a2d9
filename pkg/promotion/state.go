package promotion

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// State is everything a plan depends on, read at one moment.
type State struct {
	Now time.Time
	// Settle is how long an Application must have been healthy.
	Settle time.Duration
	// Pipeline is the configuration at the tip of the source branch, or, when
	// that cannot be used, the one of the newest snapshot; ConfigFault then
	// says why.
	Pipeline    *config.Pipeline
	ConfigFault string
	// SourceTip is the newest commit of the source branch.
	SourceTip gitrepo.Hash
	// Tags are the snapshots by version.
	Tags map[snapshot.Version]gitrepo.Hash
	// refsUntil is how long the list of refs may be used that was there before; zero
	// when it is a new one.
	refsUntil time.Time
	// sorted are the versions of Tags, newest first; nil before they are all there.
	sorted []snapshot.Version
	// Damaged are versions whose tags do not name a snapshot, and why. They are
	// never promoted, and their names are not used again.
	Damaged map[snapshot.Version]string
	// Newest is the sound snapshot with the highest version; nil when there is
	// none.
	Newest *snapshot.Snapshot
	// Candidate is the commit that the first environment runs and that was not
	// captured yet; nil when there is none, CandidateWait then says why.
	Candidate     *Candidate
	CandidateWait Wait
	// Tagged are the commits on which people set tags that are to be captured,
	// lowest version first. TagWaits says which tags are not, and why.
	Tagged   []Candidate
	TagWaits []Wait
	// Reserved are the versions that people's tags ask for, wherever those are
	// and whether or not they are captured.
	Reserved map[snapshot.Version]bool
	// Environments but the first, in the order of the configuration.
	Environments []Environment
	// Approvals found as tags.
	Approvals []Approval
	// Hotfixes that are open, or a debt of an environment, by name.
	Hotfixes []Hotfix
	// Compositions of hotfixes that are due, one a line.
	Compositions []Composition
	// BackMerges that are due.
	BackMerges []BackMerge
	// PullRequests are the hotfixes that the source branch is to get by one.
	PullRequests []BackMergeRequest
	// debts are the answers to what a promotion would lose.
	debts map[questionKey]Finding
	// Requests are signed tags that ask for something and are not answered yet, in
	// the order in which they were signed.
	Requests []SignedRequest
	// Warnings are what people should know although it holds nothing up.
	Warnings []Wait
	// Verdicts of gates that were asked, for as long as this state is used.
	Verdicts map[questionKey]gate.Verdict
}

// Candidate is a source commit ready to be captured.
type Candidate struct {
	Commit gitrepo.Hash
	// Tag is the tag that asks for the capture and Version what it says; both
	// are zero for a commit that the first environment runs.
	Tag     string
	Version snapshot.Version
	// Scheduled is the time of source.schedule for which it is captured; zero
	// without a schedule.
	Scheduled time.Time
	// SyncFinished is when the last sync of the commit in the first environment
	// ended; zero when none was needed, or the tag asks.
	SyncFinished time.Time
}

// Environment is the state of one environment with a ledger.
type Environment struct {
	config.Environment
	// Tip of the ledger; empty when it was never opened.
	Tip gitrepo.Hash
	// History is the ledger, newest entry first, as far back as was read.
	History []snapshot.Entry
	// Snapshot is what the environment points at; nil before the first.
	Snapshot *snapshot.Snapshot
	// Targets are the Applications the snapshot deploys here.
	Targets []snapshot.Target
	// Unreadable is why the ledger cannot be used; empty when it can. Nothing
	// is done to such an environment.
	Unreadable string
	// skipped are environments before this one whose evidence a person wants to do
	// without; they are not among After.
	skipped []string
	// Applications observed for this environment; ApplicationsKnown is false
	// when nobody could be asked, which is not the same as none.
	Applications      []Application
	ApplicationsKnown bool
}

// Current is the newest ledger entry; zero when there is none.
func (e Environment) Current() snapshot.Entry {
	if len(e.History) == 0 {
		return snapshot.Entry{}
	}
	return e.History[0]
}

// without leaves out environments before this one, whose evidence a person does
// without.
func (e Environment) without(skipped []string) Environment {
	e.skipped = skipped
	e.After = slices.DeleteFunc(slices.Clone(e.After), func(name string) bool { return slices.Contains(skipped, name) })
	return e
}

// proof is what a ledger says about a snapshot that was healthy there.
type proof struct {
	// tree that was deployed.
	tree gitrepo.Hash
	// since it was recorded as healthy, until something else took its place;
	// until is zero while it is what the environment points at.
	since, until time.Time
}

// proven says that the version was deployed and healthy, and that nobody has
// rejected it.
func (e Environment) proven(version snapshot.Version) bool {
	if _, _, rejected := e.rejectedIn(version); rejected {
		return false
	}
	_, found := e.evidence(version)
	return found
}

// evidence returns the newest proof that the version was deployed and healthy,
// whatever people have said about it since. It is false without one, and when
// the environment was rolled back from the version afterwards.
func (e Environment) evidence(version snapshot.Version) (proof, bool) {
	var until time.Time
	for _, entry := range e.History {
		switch {
		case entry.Event == snapshot.EventRollback && entry.From == version:
			return proof{}, false
		case entry.Event == snapshot.EventDeployed && entry.Snapshot == version:
			return proof{entry.Tree, entry.Deployed, until}, true
		case entry.Snapshot != version:
			until = entry.When
		}
	}
	return proof{}, false
}

// deployed returns the newest evidence of the version, whatever was said about it
// since.
func (e Environment) deployed(version snapshot.Version) (snapshot.Entry, bool) {
	i := slices.IndexFunc(e.History, func(entry snapshot.Entry) bool {
		return entry.Event == snapshot.EventDeployed && entry.Snapshot == version
	})
	if i < 0 {
		return snapshot.Entry{}, false
	}
	return e.History[i], true
}

// rolledBackFrom returns when the environment was rolled back from the version;
// false when it was not, or was promoted to it again since.
func (e Environment) rolledBackFrom(version snapshot.Version) (time.Time, bool) {
	for _, entry := range e.History {
		switch {
		case entry.Event == snapshot.EventPromote && entry.Snapshot == version:
			return time.Time{}, false
		case entry.Event == snapshot.EventRollback && entry.From == version:
			return entry.When, true
		}
	}
	return time.Time{}, false
}

// Approval is one annotated tag approve/<environment>/<version>/<who>.
type Approval struct {
	Environment string
	Version     snapshot.Version
	// Who is the last part of the tag's name, Tagger the e-mail address in it
	// and When its time.
	Who    string
	Tagger string
	When   time.Time
	// Commit is what the tag names; it counts only if that is the snapshot.
	Commit gitrepo.Hash
	// Authors are the e-mail addresses of who wrote the snapshot's source commit, or
	// the hotfixes that were composed. Known only where the gate asks for it.
	Authors []string
	// Signer is the fingerprint of the key that has signed the tag, of those that
	// may; empty when none has, and Unsigned then says why.
	Signer   string
	Unsigned string
}

// Environment returns the state of the environment of that name.
func (s *State) Environment(name string) (Environment, bool) {
	for _, e := range s.Environments {
		if e.Name == name {
			return e, true
		}
	}
	return Environment{}, false
}

// Versions lists the snapshots, newest first, without those that are known to
// be damaged.
func (s *State) Versions() []snapshot.Version {
	sorted := s.sorted
	if len(sorted) != len(s.Tags) {
		sorted = newestFirst(s.Tags)
	}
	versions := make([]snapshot.Version, 0, len(sorted))
	for _, v := range sorted {
		if _, damaged := s.Damaged[v]; !damaged {
			versions = append(versions, v)
		}
	}
	return versions
}

func newestFirst(tags map[snapshot.Version]gitrepo.Hash) []snapshot.Version {
	return slices.SortedFunc(maps.Keys(tags), func(a, b snapshot.Version) int { return b.Compare(a) })
}

// nextVersion is what a capture would be called now. A version that a person
// has set a tag for is not given to anything else. It counts past a tag that
// cannot be captured yet, and not above the highest one: that may be captured
// later only as long as it is above everything.
func (s *State) nextVersion() snapshot.Version {
	newest := snapshot.Version{Pipeline: s.Pipeline.Name}
	for v := range s.Tags {
		if v.Compare(newest) > 0 {
			newest = v
		}
	}
	for _, c := range s.Tagged {
		if c.Version.Compare(newest) > 0 {
			newest = c.Version
		}
	}
	next := newest.NextMinor()
	for s.Reserved[next] {
		next = next.NextMinor()
	}
	return next
}

// oldest is the lowest version of all snapshots; zero when there is none.
func (s *State) oldest() snapshot.Version {
	var oldest snapshot.Version
	for v := range s.Tags {
		if oldest.IsZero() || v.Compare(oldest) < 0 {
			oldest = v
		}
	}
	return oldest
}

// captured holds the snapshots that were read: the newest, and those that the
// environments point at.
func (s *State) captured() map[snapshot.Version]snapshot.Snapshot {
	known := map[snapshot.Version]snapshot.Snapshot{}
	if s.Newest != nil {
		known[s.Newest.Lock.Version] = *s.Newest
	}
	for _, e := range s.Environments {
		if e.Snapshot != nil {
			known[e.Snapshot.Lock.Version] = *e.Snapshot
		}
	}
	return known
}

// capturedSources holds source commits that were captured: that of the newest
// snapshot, and when a person's tag made that one, so that a higher version may
// be an older commit, everything that the ledgers name as well.
func (s *State) capturedSources() map[gitrepo.Hash]snapshot.Version {
	sources := map[gitrepo.Hash]snapshot.Version{}
	if s.Newest == nil {
		return sources
	}
	if s.Newest.Lock.Source.Tag != "" || s.Newest.Lock.Base != nil {
		for _, e := range s.Environments {
			for _, entry := range e.History {
				if entry.SourceCommit != "" {
					sources[entry.SourceCommit] = entry.Snapshot
				}
			}
		}
	}
	sources[s.Newest.Captured()] = s.Newest.Lock.Version
	return sources
}

// approvers lists who approved the version for the environment, sorted, each
// person once. An approval of another commit under the same name does not
// count, nor one from before the environment was rolled back from the version,
// nor what the environment's gate does not accept.
func (s *State) approvers(e Environment, version snapshot.Version) []string {
	who, _ := s.approvals(e, version)
	return who
}

// discounted says which approvals do not count because of the gate, and why.
func (s *State) discounted(e Environment, version snapshot.Version) string {
	_, left := s.approvals(e, version)
	return strings.Join(left, "; ")
}

func (s *State) approvals(e Environment, version snapshot.Version) (who, left []string) {
	rolledBack, _ := e.rolledBackFrom(version)
	want := e.ApprovalGate()
	var counted []Approval
	for _, a := range s.Approvals {
		if a.Environment != e.Name || a.Version != version || a.Commit != s.Tags[version] || !a.When.After(rolledBack) {
			continue
		}
		switch {
		case want.Signers != "" && a.Signer == "":
			left = append(left, fmt.Sprintf("that of %s does not count: %s", a.Who, a.Unsigned))
		case want.NotSelf && slices.ContainsFunc(a.Authors, func(author string) bool { return strings.EqualFold(a.Tagger, author) }):
			left = append(left, fmt.Sprintf("that of %s does not count: who wrote the commit cannot approve it", a.Who))
		default:
			counted = append(counted, a)
		}
	}
	return people(counted), left
}

// people names who is behind approvals, sorted. Approvals with one key, or for one
// address, are of one person, also when a third one connects them.
func people(approvals []Approval) []string {
	type person struct {
		name string
		keys map[string]bool // fingerprints and addresses
	}
	var all []person
	for _, a := range approvals {
		one := person{a.Who, map[string]bool{"address " + strings.ToLower(a.Tagger): true}}
		if a.Signer != "" {
			one.keys["key "+a.Signer] = true
		}
		all = slices.DeleteFunc(all, func(other person) bool {
			same := false
			for key := range other.keys {
				same = same || one.keys[key]
			}
			if same {
				maps.Copy(one.keys, other.keys)
			}
			return same
		})
		all = append(all, one)
	}
	names := make([]string, 0, len(all))
	for _, one := range all {
		names = append(names, one.name)
	}
	slices.Sort(names)
	return names
}

// directlyAfterFirst reports whether the environment takes snapshots from the
// first environment, whose images are mirrored at capture.
func directlyAfterFirst(p *config.Pipeline, e config.Environment) bool {
	return slices.Contains(e.After, p.First().Name)
}

// destinationKey identifies a destination for matching.
func destinationKey(cluster, server, namespace string) string {
	return cmp.Or(cluster, server) + "/" + namespace
}
