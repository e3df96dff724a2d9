package simulation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// audit looks at git and the registries after every push. It reads ledgers with
// a parser of its own, and compares with what the world knows.
type audit struct {
	world *world
	git   *gitrepo.Memory
	refs  gitrepo.Refs
	// past are the refs as they were, oldest first.
	past []gitrepo.Refs
	// ledgers are the entries by environment, oldest first.
	ledgers map[string][]entry
	// locks are the snapshots by version.
	locks map[string]snapshot.Snapshot
	// images that were ever built, by application, and the digests that a
	// reference ever had.
	images  map[string][]imagebuild.Built
	digests map[string][]string
}

// entry is a ledger commit as anybody can read it.
type entry struct {
	id       gitrepo.Hash
	event    string
	snapshot string
	from     string
	hold     string
	actor    string
	approved []string
}

func newAudit(w *world) *audit {
	return &audit{
		world: w, git: w.people.Client(), refs: gitrepo.Refs{}, ledgers: map[string][]entry{}, locks: map[string]snapshot.Snapshot{},
		images: map[string][]imagebuild.Built{}, digests: map[string][]string{},
	}
}

func (a *audit) pushedImage(app, tag string, built imagebuild.Built) {
	if !slices.ContainsFunc(a.images[app], func(b imagebuild.Built) bool { return b.Digest() == built.Digest() }) {
		a.images[app] = append(a.images[app], built)
	}
	key := "dev.example/shop/" + app + ":" + tag
	a.digests[key] = append(a.digests[key], built.Digest())
}

// current is the version that a ledger names.
func (a *audit) current(env string) string {
	if entries := a.ledgers[env]; len(entries) > 0 {
		return entries[len(entries)-1].snapshot
	}
	return ""
}

// hold is why an environment is on hold.
func (a *audit) hold(env string) string {
	if entries := a.ledgers[env]; len(entries) > 0 {
		return entries[len(entries)-1].hold
	}
	return ""
}

// versions lists the snapshots, oldest first.
func (a *audit) versions() []string {
	return slices.SortedFunc(maps.Keys(a.locks), compareVersions)
}

// targets are spellings that a person might sync an Application to.
func (a *audit) targets() []string {
	var all []string
	for _, v := range a.versions() {
		all = append(all, "refs/tags/"+v)
	}
	return all
}

func compareVersions(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

func numbers(version string) []int {
	var n [3]int
	_, _ = fmt.Sscanf(version[strings.LastIndexByte(version, 'v'):], "v%d.%d.%d", &n[0], &n[1], &n[2])
	return n[:]
}

// captured reports whether a snapshot was made of the commit.
func (a *audit) captured(commit gitrepo.Hash) bool {
	for _, s := range a.locks {
		if s.Source == commit {
			return true
		}
	}
	return false
}

// snapshot reads a snapshot's commit.
func (a *audit) snapshot(id gitrepo.Hash) (snapshot.Snapshot, error) {
	for _, s := range a.locks {
		if s.ID == id {
			return s, nil
		}
	}
	if err := a.git.Fetch(a.world.ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return snapshot.Snapshot{}, err
	}
	return snapshot.Read(a.git, id, snapshot.Version{})
}

// opened checks I5: whoever reads or writes Prod's registry for one step has no
// business in Dev's.
func (a *audit) opened(registries map[string]bool) {
	if registries["dev"] && registries["prod"] {
		a.world.fail("I5: one step uses the registries of Dev and of Prod")
	}
}

// look compares the refs with those of the last look, after an accepted push:
// that of a node, which had seen these Applications, or of people.
func (a *audit) look(n *node, seen []application) {
	now, err := a.git.Refs(a.world.ctx)
	if err != nil {
		a.world.fail("the auditor: %v", err)
		return
	}
	old := a.refs
	a.past, a.refs = append(a.past, now), now
	for ref := range old {
		if now[ref] == "" {
			a.world.fail("I1: %s was deleted", ref)
		}
	}
	// Tags first: a ledger may name one that came with it.
	for _, ref := range slices.Sorted(maps.Keys(now)) {
		if version, ok := strings.CutPrefix(ref, "refs/tags/"); ok && old[ref] != now[ref] {
			a.tag(version, old[ref], now[ref], n, seen)
		}
	}
	for _, env := range []string{"stage", "prod"} {
		if ref := "refs/heads/environments/" + env; old[ref] != now[ref] {
			a.ledger(env, old[ref], now[ref], n, seen)
		}
	}
}

func (a *audit) tag(name string, old, id gitrepo.Hash, n *node, seen []application) {
	w := a.world
	if old != "" {
		w.fail("I1: tag %s moved from %s to %s", name, old.Short(), id.Short())
		return
	}
	if !strings.HasPrefix(name, "shop/") {
		return
	}
	if err := a.git.Fetch(w.ctx, []gitrepo.Hash{id}, gitrepo.FetchOptions{Depth: 2}); err != nil {
		w.fail("the auditor: %v", err)
		return
	}
	snap, err := snapshot.Read(a.git, id, snapshot.Version{})
	if err != nil {
		w.fail("I3: tag %s: %v", name, err)
		return
	}
	a.message(id)
	if snap.Lock.Version.String() != name {
		w.fail("I3: tag %s names the snapshot %s", name, snap.Lock.Version)
	}
	for version, other := range a.locks {
		if other.Source == snap.Source && other.Lock.Source.Tag == snap.Lock.Source.Tag {
			w.fail("I6: commit %s was captured as %s and as %s", snap.Source.Short(), version, name)
		}
	}
	a.locks[name] = snap
	for _, image := range snap.Lock.Images {
		if !slices.Contains(a.digests[image.Requested], image.Digest) {
			w.fail("I2: %s locks %s to %s, which it never was", name, image.Requested, image.Digest)
		}
	}
	a.complete("tag "+name, "stage", snap, "stage", "prod")
	if n == nil || w.traits.tags {
		return
	}
	for _, app := range seen {
		if app.env != "dev" {
			continue
		}
		if why := app.proves("main", snap.Source); why != "" {
			w.fail("I7: %s was captured of %s, but %s %s", name, snap.Source.Short(), app.name(), why)
		}
	}
}

// ledger follows an environment's branch from the old tip to the new one.
func (a *audit) ledger(env string, old, tip gitrepo.Hash, n *node, seen []application) {
	w := a.world
	if err := a.git.Fetch(w.ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{CommitsOnly: true}); err != nil {
		w.fail("the auditor: %v", err)
		return
	}
	var added []gitrepo.Hash
	for id := tip; id != old; {
		added = append(added, id)
		commit, err := gitrepo.ReadCommit(a.git, id)
		if err != nil || len(commit.Parents) == 0 {
			if old != "" || err != nil {
				w.fail("I1: the ledger of %s moved from %s to %s, which does not continue it (%v)", env, old.Short(), tip.Short(), err)
				return
			}
			break
		}
		id = commit.Parents[0]
	}
	for _, id := range slices.Backward(added) {
		commit, _ := gitrepo.ReadCommit(a.git, id) // it was read above
		a.message(id)
		a.entry(env, parseEntry(id, commit), commit, n, seen)
	}
}

// message checks I9.
func (a *audit) message(id gitrepo.Hash) {
	if o, err := a.git.Object(id); err == nil && bytes.Contains(o.Data, []byte(secret)) {
		a.world.fail("I9: commit %s has a secret in it", id.Short())
	}
}

func parseEntry(id gitrepo.Hash, commit gitrepo.Commit) entry {
	e := entry{id: id}
	text := strings.TrimSpace(commit.Message)
	for line := range strings.SplitSeq(text[strings.LastIndex(text, "\n\n")+1:], "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Propagator-Event":
			e.event = value
		case "Propagator-Snapshot":
			e.snapshot = value
		case "Propagator-From":
			e.from = value
		case "Propagator-Hold":
			e.hold = value
		case "Propagator-Actor":
			e.actor = value
		case "Propagator-Approved-By":
			e.approved = append(e.approved, value)
		}
	}
	return e
}

// entry checks what is added to a ledger, at the moment when it is.
func (a *audit) entry(env string, e entry, commit gitrepo.Commit, n *node, seen []application) {
	w := a.world
	before := entry{}
	history := a.ledgers[env]
	if len(history) > 0 {
		before = history[len(history)-1]
	}
	a.ledgers[env] = append(history, e)
	w.tracef("ledger of %s: %s %s by %s", env, e.event, e.snapshot, e.actor)
	w.count("ledger: " + e.event)
	if e.event == "open" {
		return
	}
	snap, known := a.locks[e.snapshot]
	if e.snapshot != "" && !known {
		w.fail("I2: %s names %s, which does not exist", env, e.snapshot)
		return
	}
	if known && snap.Tree != commit.Tree {
		w.fail("I3: %s has the tree %s and names %s with the tree %s", env, commit.Tree.Short(), e.snapshot, snap.Tree.Short())
	}
	switch e.event {
	case "promote":
		a.promoted(env, e, before, history, snap)
	case "rollback":
		if e.hold == "" || !a.ran(history, e.snapshot) {
			w.fail("I7: rollback of %s to %s without a hold, or to what it never ran", env, e.snapshot)
		}
		a.complete(env+" rolled back", env, snap, downstream(env)...)
	case "deployed":
		a.deployed(env, e, before, history, snap, n, seen)
	}
}

func downstream(env string) []string {
	if env == "stage" {
		return []string{"stage", "prod"}
	}
	return []string{env}
}

func (a *audit) ran(history []entry, version string) bool {
	return slices.ContainsFunc(history, func(e entry) bool { return e.snapshot == version })
}

func (a *audit) promoted(env string, e, before entry, history []entry, snap snapshot.Snapshot) {
	w := a.world
	a.complete(env+" promoted", env, snap, downstream(env)...)
	if env == "prod" && !a.proven("stage", e.snapshot) {
		w.fail("I3: prod got %s without evidence from stage", e.snapshot)
	}
	if e.from != before.snapshot {
		w.fail("I1: %s came to %s from %q, and its ledger was at %q", env, e.snapshot, e.from, before.snapshot)
	}
	if before.snapshot != "" && compareVersions(e.snapshot, before.snapshot) <= 0 {
		w.fail("I7: %s was promoted from %s to %s", env, before.snapshot, e.snapshot)
	}
	if env == "prod" && w.gate == approvalGate && len(e.approved) == 0 {
		w.fail("I7: prod got %s without an approval", e.snapshot)
	}
	if e.actor == "ada" {
		return
	}
	if before.hold != "" {
		w.fail("I7: %s was promoted to %s while on hold: %s", env, e.snapshot, before.hold)
	}
	if wentBackFrom(history, e.snapshot) {
		w.fail("I7: %s was promoted to %s again, after a rollback from it", env, e.snapshot)
	}
	if mode := map[string]string{"stage": w.stageMode, "prod": w.prodMode}[env]; mode == "manual" {
		w.fail("I7: %s was promoted to %s by itself", env, e.snapshot)
	}
}

// proven reports whether a ledger has evidence of the version.
func (a *audit) proven(env, version string) bool {
	for _, e := range slices.Backward(a.ledgers[env]) {
		if e.event == "deployed" && e.snapshot == version {
			return true
		}
	}
	return false
}

// wentBackFrom reports whether the environment was rolled back from the version and
// not promoted to it since.
func wentBackFrom(history []entry, version string) bool {
	for _, e := range slices.Backward(history) {
		switch {
		case e.event == "promote" && e.snapshot == version:
			return false
		case e.event == "rollback" && e.from == version:
			return true
		}
	}
	return false
}

func (a *audit) deployed(env string, e, before entry, history []entry, snap snapshot.Snapshot, n *node, seen []application) {
	w := a.world
	if before.snapshot != e.snapshot || before.hold != e.hold {
		w.fail("I7: evidence of %s changes what %s points at, or its hold", e.snapshot, env)
	}
	for _, past := range slices.Backward(history) {
		if past.event == "promote" || past.event == "rollback" {
			break
		}
		if past.event == "deployed" {
			w.fail("I6: %s has evidence of %s twice", env, e.snapshot)
		}
	}
	found := 0
	for _, app := range seen {
		if app.env != env {
			continue
		}
		found++
		if why := app.proves("refs/tags/"+e.snapshot, snap.ID); why != "" {
			w.fail("I7: evidence of %s in %s, but %s %s", e.snapshot, env, app.name(), why)
		}
		if !w.skewed && !app.settled(w.settle) {
			w.fail("I7: evidence of %s in %s, before %s was well for %s", e.snapshot, env, app.name(), w.settle)
		}
	}
	if found != len(w.apps) || n == nil {
		w.fail("I7: evidence of %s in %s, of %d Applications", e.snapshot, env, found)
	}
}

// complete checks I2: every image that the environments use is in the registry
// of env, to the last byte, with what refers to it.
func (a *audit) complete(what, env string, snap snapshot.Snapshot, uses ...string) {
	r := a.world.registries[env]
	for _, image := range snap.Lock.Images {
		used := slices.ContainsFunc(image.UsedBy, func(by string) bool {
			of, _, _ := strings.Cut(by, "/")
			return slices.Contains(uses, of)
		})
		if !used {
			continue
		}
		repo := strings.TrimPrefix(image.Requested[:strings.LastIndexByte(image.Requested, ':')], "dev.example/shop/")
		i := slices.IndexFunc(a.images[repo], func(b imagebuild.Built) bool { return b.Digest() == image.Digest })
		if i < 0 {
			a.world.fail("I2: %s: nobody ever built %s", what, image.Digest)
			continue
		}
		if err := a.holds(r, repo, a.images[repo][i]); err != nil {
			a.world.fail("I2: %s: %s of %s is not complete in the registry of %s: %v", what, image.Requested, snap.Lock.Version, env, err)
		}
	}
}

// holds compares an image with what a registry has of it.
func (a *audit) holds(r *registry.Memory, repo string, built imagebuild.Built) error {
	ctx := context.WithoutCancel(a.world.ctx)
	m, err := r.Manifest(ctx, repo, built.Digest())
	if err != nil {
		return err
	}
	if !bytes.Equal(m.Raw, built.Manifest.Raw) {
		return fmt.Errorf("manifest %s differs", built.Digest())
	}
	for digest, want := range built.Blobs {
		content, err := r.Blob(ctx, repo, digest)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(content)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("blob %s differs: %w", digest, err)
		}
	}
	for _, child := range built.Children {
		if err := a.holds(r, repo, child); err != nil {
			return err
		}
	}
	if len(built.Referrers) == 0 {
		return nil
	}
	listed, err := r.Referrers(ctx, repo, built.Digest())
	if err != nil {
		return err
	}
	for _, referrer := range built.Referrers {
		if !slices.ContainsFunc(listed, func(d registry.Descriptor) bool { return d.Digest == referrer.Digest() }) {
			return fmt.Errorf("%s is not listed as a referrer of %s", referrer.Digest(), built.Digest())
		}
		if err := a.holds(r, repo, referrer); err != nil {
			return err
		}
	}
	return nil
}
