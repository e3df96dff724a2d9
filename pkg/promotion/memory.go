package promotion

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// memory is what an engine remembers between two looks. All of it can be had
// again: it saves requests and repeated log lines.
type memory struct {
	mu sync.Mutex // guards the fields below
	// pipeline is its name, as last read from its configuration.
	pipeline string
	// refs are the last list of them, and when it was asked for.
	refs   gitrepo.Refs
	refsAt time.Time
	// versions that there were at the last look, newest first.
	versions []snapshot.Version
	// contents by digest.
	contents map[string]contents
	// warnings is the inquiry for what nobody waits for, and when it began.
	warnings      *inquiry
	warningsSince time.Time
	// differences are the warnings about the first environment's Pods, and what
	// they were found for.
	differences    []Wait
	differencesFor string
	differencesAt  time.Time
	// unseen are the namespaces that were reported as not visible.
	unseen map[string]bool
	// urged is what Argo CD was asked for, by the key of the urge.
	urged map[string]*urged
	// verdicts that let nothing pass.
	verdicts map[questionKey]pastVerdict
	// tips are where the ledgers' branches were, by environment.
	tips map[string]seenTip
	// What was found out about commits, which never changes.
	branches  lookup[branchKey, hotfix.Branch]
	strangers lookup[strangerKey, hotfix.Branch]
	composed  lookup[[sha256.Size]byte, hotfix.Composition]
	heads     lookup[gitrepo.Hash, hotfix.Branch]
	finder    hotfix.Finder
	found     lookup[findKey, pastFind]
	snapshots lookup[snapshotKey, snapshot.Snapshot]
	// pulls is what was found out about pull requests, by the hotfix's head; the
	// empty one is about the server.
	pulls lookup[gitrepo.Hash, pastPull]
}

// snapshotKey is the commit of a snapshot, and the version that its tag says.
type snapshotKey struct {
	id      gitrepo.Hash
	version snapshot.Version
}

// branchKey is a branch as it was found.
type branchKey struct {
	name string
	head gitrepo.Hash
}

// strangerKey is a branch that was cut from nothing that is known, and what was
// known: the source branch, and the sum of all that an environment has run.
type strangerKey struct {
	branchKey
	source gitrepo.Hash
	known  [sha256.Size]byte
}

// findKey is what a containment depends on.
type findKey struct {
	base, head, in, tree, commit gitrepo.Hash
	since                        snapshot.Version
}

// pastFind is a containment, and when it was found out.
type pastFind struct {
	hotfix.Containment
	at time.Time
}

// lookup is a map that is emptied when it is full. It is safe for concurrent use.
type lookup[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V
}

// maxLookup bounds a map of what was found out: enough for a few thousand hotfixes
// in as many places as a pipeline has, for with more of them than it holds every
// look would find out all of it again. A snapshot has a lock, which is large.
const (
	maxSnapshots = 32
	maxLookup    = 16384
)

func (k *lookup[K, V]) get(key K) (V, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	value, ok := k.values[key]
	return value, ok
}

func (k *lookup[K, V]) put(key K, value V) { k.putAmong(maxLookup, key, value) }

// putAmong keeps at most so many.
func (k *lookup[K, V]) putAmong(most int, key K, value V) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values == nil || len(k.values) >= most {
		k.values = map[K]V{}
	}
	k.values[key] = value
}

// keepRefs keeps a list of refs, which nobody changes.
func (m *memory) keepRefs(refs gitrepo.Refs, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs, m.refsAt = refs, asked
}

// forgetRefs is for who has moved one.
func (m *memory) forgetRefs() { m.keepRefs(nil, time.Time{}) }

// recentRefs returns the list that was kept, if it is recent, and until when it is.
func (m *memory) recentRefs(now time.Time) (refs gitrepo.Refs, until time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	until = m.refsAt.Add(refsLife)
	return m.refs, until, m.refs != nil && !now.Before(m.refsAt) && now.Before(until)
}

// newestFirst sorts the versions of snapshots, which are the same ones at most
// looks. What it returns is not to be changed.
func (m *memory) newestFirst(tags map[snapshot.Version]gitrepo.Hash) []snapshot.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := func(v snapshot.Version) bool { return tags[v] == "" }
	if len(m.versions) != len(tags) || slices.ContainsFunc(m.versions, gone) {
		m.versions = newestFirst(tags)
	}
	return m.versions
}

// pastVerdict is what a gate said about a snapshot's commit.
type pastVerdict struct {
	gate.Verdict
	commit gitrepo.Hash
	at     time.Time
}

// verdictLife is how long a verdict that lets nothing pass is not asked for
// again: there are several looks a second while Argo CD is at work, and others
// are not to be asked that often. One that passes is asked for each time.
const verdictLife = 15 * time.Second

func (m *memory) verdictOf(q Question, commit gitrepo.Hash, now time.Time) (gate.Verdict, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	past, ok := m.verdicts[q.key()]
	age := now.Sub(past.at)
	fresh := ok && past.commit == commit && age >= 0 && age < verdictLife && (past.Until.IsZero() || now.Before(past.Until))
	return past.Verdict, fresh
}

func (m *memory) keepVerdict(q Question, commit gitrepo.Hash, v gate.Verdict, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.Result == gate.Pass {
		delete(m.verdicts, q.key())
		return
	}
	if m.verdicts == nil || len(m.verdicts) >= maxQuestions {
		m.verdicts = map[questionKey]pastVerdict{}
	}
	m.verdicts[q.key()] = pastVerdict{v, commit, now}
}

// Pipeline is the name of the pipeline, as last read from its configuration;
// empty before that.
func (e *Engine) Pipeline() string {
	e.memory.mu.Lock()
	defer e.memory.mu.Unlock()
	return e.memory.pipeline
}

func (m *memory) name(pipeline string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pipeline = pipeline
}

func (m *memory) contentsOf(digest string) (contents, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.contents[digest]
	return known, ok
}

func (m *memory) keep(digest string, found contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contents == nil || len(m.contents) >= maxContents {
		m.contents = map[string]contents{}
	}
	m.contents[digest] = found
}

// inquireForWarnings returns the same inquiry for a warningPeriod.
func (m *memory) inquireForWarnings(now time.Time) *inquiry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warnings == nil || now.Sub(m.warningsSince) >= warningPeriod {
		m.warnings, m.warningsSince = m.inquire(warningBudget), now
	}
	return m.warnings
}

// lastDifferences are the warnings that were found for the same, less than a
// warningPeriod ago.
func (m *memory) lastDifferences(of string, now time.Time) ([]Wait, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.differences, m.differencesFor == of && now.Sub(m.differencesAt) < warningPeriod
}

func (m *memory) keepDifferences(of string, found []Wait, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.differences, m.differencesFor, m.differencesAt = found, of, now
}

// first reports whether a namespace is found not visible for the first time.
func (m *memory) first(namespace string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unseen[namespace] {
		return false
	}
	if m.unseen == nil {
		m.unseen = map[string]bool{}
	}
	m.unseen[namespace] = true
	return true
}
