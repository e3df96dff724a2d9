package promotion

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// capturing is the configuration of the tests with a source of its own.
func capturing(source string) gitrepotest.Files {
	return gitrepotest.Files{config.File: strings.Replace(configuration, "registries:", "source: "+source+"\nregistries:", 1)}
}

// tagShop captures tags and nothing else.
func tagShop(t *testing.T, files ...gitrepotest.Files) *shop {
	t.Helper()
	return newShop(t, append([]gitrepotest.Files{capturing("{capture: tag}")}, files...)...)
}

// tip is the newest commit of the source branch.
func (s *shop) tip() gitrepo.Hash { return s.refs()["refs/heads/main"] }

// tag sets a tag, or moves it, as a person may.
func (s *shop) tag(name string, commit gitrepo.Hash) {
	s.t.Helper()
	ref := gitrepo.Tags + name
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: ref, Old: s.refs()[ref], New: commit}}})
}

// annotate sets an annotated tag, or moves it.
func (s *shop) annotate(name string, commit gitrepo.Hash) {
	s.t.Helper()
	object := gitrepo.NewTag(gitrepo.Tag{Object: commit, Type: gitrepo.TypeCommit, Name: name, Tagger: gitrepotest.Identity(0), Message: "release\n"})
	ref := gitrepo.Tags + name
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: ref, Old: s.refs()[ref], New: object.ID()}}, Objects: []gitrepo.Object{object},
	})
}

// grow adds a commit to main and returns it.
func (s *shop) grow(note string) gitrepo.Hash {
	s.t.Helper()
	s.commit(gitrepotest.Files{"note": note})
	return s.tip()
}

// aside makes a commit that is not on main.
func (s *shop) aside(note string) gitrepo.Hash {
	s.t.Helper()
	tip := s.tip()
	gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, tip)
	id, objects := gitrepotest.Commit(s.t, s.people, gitrepotest.Files{"aside": note}, "aside", tip)
	gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/aside-" + note, New: id}}, Objects: objects})
	return id
}

// read returns a snapshot by version.
func (s *shop) read(v string) snapshot.Snapshot {
	s.t.Helper()
	repo, id := s.server.Client(), s.refs()["refs/tags/"+v]
	gitrepotest.MustFetch(s.t, repo, gitrepo.FetchOptions{Depth: 1}, id)
	snap, err := snapshot.Read(repo, id, version(s.t, v))
	if err != nil {
		s.t.Fatal(err)
	}
	return snap
}

// snapshots lists the versions that exist, lowest first.
func (s *shop) snapshots() []string {
	s.t.Helper()
	var all []snapshot.Version
	for ref := range s.refs() {
		if v, err := snapshot.ParseVersion(strings.TrimPrefix(ref, gitrepo.Tags)); err == nil {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, snapshot.Version.Compare)
	var names []string
	for _, v := range all {
		names = append(names, v.Number())
	}
	return names
}

func (s *shop) reconcile() Result {
	s.t.Helper()
	result, err := s.engine(nil).Reconcile(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

func (s *shop) observe() *State {
	s.t.Helper()
	state, err := s.engine(nil).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// TestTagPushedByAPerson is S34–S38: exactly the tagged commit is captured,
// although main went on and Dev runs something else; nothing is rebuilt, and
// the images carry the tag in Stage's and Prod's registries.
func TestTagPushedByAPerson(t *testing.T) {
	for name, set := range map[string]func(*shop, string, gitrepo.Hash){"lightweight": (*shop).tag, "annotated": (*shop).annotate} {
		t.Run(name, func(t *testing.T) {
			s := tagShop(t)
			released := s.tip()
			s.grow("after the release")
			set(s, "v1.5.0", released)
			s.settle(func() *Engine { return s.engine(nil) })

			if diff := cmp.Diff([]string{"v1.5.0"}, s.snapshots()); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
			snap := s.read("shop/v1.5.0")
			if snap.Source != released || snap.Lock.Source.Tag != "v1.5.0" {
				t.Errorf("captured %s of tag %q, want %s", snap.Source, snap.Lock.Source.Tag, released)
			}
			for _, env := range []string{"stage", "prod"} {
				if entry := s.entry(env); entry.Event != snapshot.EventDeployed || entry.Snapshot.Number() != "v1.5.0" {
					t.Errorf("%s: %s %s", env, entry.Event, entry.Snapshot)
				}
				var released []string
				for _, line := range s.contents() {
					if f := strings.Fields(line); f[0] == env && f[2] == "v1.5.0" {
						released = append(released, f[1]+" "+f[3])
					}
				}
				// The tag on redis would read like a version of Redis.
				want := []string{"orders " + s.built["orders:v1"].Digest(), "worker " + s.built["worker:latest"].Digest()}
				if diff := cmp.Diff(want, released); diff != "" {
					t.Errorf("release tags in %s (-want +got):\n%s", env, diff)
				}
			}
			result := s.reconcile()
			if !hasWait(result.Waits, "dev", TagExpected) {
				t.Errorf("waits: %v", result.Waits)
			}
		})
	}
}

// TestTagNeedsNoProof: the ledger says that Dev was not asked, and Prod asks
// Stage all the same.
func TestTagNeedsNoProof(t *testing.T) {
	s := tagShop(t)
	s.argo.broken = map[string]bool{"dev-orders": true, "stage-orders": true}
	s.tag("v1.5.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	want := []snapshot.Verdict{{Gate: "dev", Result: "skip", Detail: "captured because of the tag v1.5.0"}}
	if diff := cmp.Diff(want, s.entry("stage").Gates); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if s.entry("prod").Event != "" {
		t.Error("prod was promoted")
	}
}

// TestWhichTags sets tags, lets the engine look, and sets more.
func TestWhichTags(t *testing.T) {
	for _, test := range []struct {
		name   string
		source string
		first  func(s *shop)
		// then, when set, happens once the first tags are dealt with.
		then  func(s *shop)
		want  []string
		stage string
		wait  Reason
		// says is part of the wait.
		says string
	}{
		{
			name: "of many historical tags only the newest",
			first: func(s *shop) {
				for i := range 200 {
					s.tag(fmt.Sprintf("v1.%d.0", i), s.tip())
				}
			},
			want: []string{"v1.199.0"}, stage: "v1.199.0",
		},
		{
			name:  "no tag yet, then the first",
			first: func(*shop) {},
			then:  func(s *shop) { s.tag("v0.0.1", s.tip()) },
			want:  []string{"v0.0.1"}, stage: "v0.0.1",
		},
		{
			name:  "after that every new one, in order",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then: func(s *shop) {
				s.tag("v1.10.0", s.grow("3"))
				s.tag("v1.9.0", s.grow("2"))
				s.tag("v2.0.0", s.grow("4"))
			},
			want: []string{"v1.0.0", "v1.9.0", "v1.10.0", "v2.0.0"}, stage: "v2.0.0",
		},
		{
			name:  "older than the newest snapshot",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then: func(s *shop) {
				s.tag("v1.5.0", s.grow("2"))
				s.settle(func() *Engine { return s.engine(nil) })
				s.tag("v1.4.0", s.grow("3"))
			},
			want: []string{"v1.0.0", "v1.5.0"}, stage: "v1.5.0", wait: TagOlder, says: "v1.4.0 below shop/v1.5.0",
		},
		{
			name:  "tags from before the pipeline are not worth a word",
			first: func(s *shop) { s.tag("v0.1.0", s.tip()); s.tag("v0.2.0-rc.1", s.tip()); s.tag("v1.0.0", s.tip()) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0", wait: TagExpected,
		},
		{
			name:  "not on the branch, and the others go on",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then: func(s *shop) {
				s.tag("v1.1.0", s.grow("2"))
				s.tag("v1.2.0", s.aside("x"))
				s.annotate("v1.3.0", s.aside("y"))
				s.tag("v1.4.0", s.grow("3"))
				s.tag("v9.0.0", s.aside("z"))
			},
			want: []string{"v1.0.0", "v1.1.0", "v1.4.0"}, stage: "v1.4.0", wait: TagNotOnBranch, says: "not on main",
		},
		{
			name:  "the highest of the first is elsewhere",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()); s.tag("v2.0.0", s.aside("x")) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0", wait: TagNotOnBranch, says: "shop/v2.0.0",
		},
		{
			name:  "merged since",
			first: func(s *shop) { s.tag("v1.0.0", s.aside("x")) },
			then: func(s *shop) {
				tip, side := s.tip(), s.refs()["refs/heads/aside-x"]
				gitrepotest.MustFetch(s.t, s.people, gitrepo.FetchOptions{Depth: 1}, tip, side)
				merge, objects := gitrepotest.Commit(s.t, s.people, gitrepotest.Files{"aside": "x"}, "merge", tip, side)
				gitrepotest.MustPush(s.t, s.people, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/heads/main", Old: tip, New: merge}}, Objects: objects})
			},
			want: []string{"v1.0.0"}, stage: "v1.0.0",
		},
		{
			name: "not a version",
			first: func(s *shop) {
				for _, name := range []string{"vnext", "v2.0", "v1.9.0-rc.1", "v01.0.0", "v1.0.0"} {
					s.tag(name, s.tip())
				}
			},
			want: []string{"v1.0.0"}, stage: "v1.0.0", wait: TagNotVersion, says: "vnext, v2.0, v1.9.0-rc.1 and 1 more",
		},
		{
			name:  "another form",
			first: func(s *shop) { s.tag("release-1.0.0", s.tip()); s.tag("1.0.0", s.tip()) },
			wait:  TagExpected,
		},
		{
			name: "a form of one's own", source: "{capture: tag, tags: shop-v*}",
			first: func(s *shop) { s.tag("shop-v1.0.0", s.tip()); s.tag("v2.0.0", s.tip()) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0",
		},
		{
			name:  "two tags on one commit",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then:  func(s *shop) { s.tag("v1.1.0", s.tip()); s.tag("v1.2.0", s.tip()) },
			want:  []string{"v1.0.0", "v1.1.0", "v1.2.0"}, stage: "v1.2.0",
		},
		{
			name:  "moved after the capture",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then:  func(s *shop) { s.tag("v1.0.0", s.grow("2")) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0", wait: TagDiffers, says: "the snapshot is and stays that of",
		},
		{
			name:  "moved after the capture, annotated",
			first: func(s *shop) { s.annotate("v1.0.0", s.tip()) },
			then:  func(s *shop) { s.annotate("v1.0.0", s.grow("2")) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0", wait: TagDiffers, says: "tag v1.0.0 names",
		},
		{
			name:  "annotated on the same commit afterwards",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then:  func(s *shop) { s.annotate("v1.0.0", s.tip()) },
			want:  []string{"v1.0.0"}, stage: "v1.0.0", wait: TagExpected,
		},
		{
			name: "sync only: tags mean nothing", source: "{capture: sync}",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			want:  []string{"v0.1.0"}, stage: "v0.1.0", wait: AlreadyThere,
		},
		{
			name: "both: a tag on what Dev was captured from", source: "{capture: [sync, tag]}",
			first: func(*shop) {},
			then:  func(s *shop) { s.tag("v1.0.0", s.tip()) },
			want:  []string{"v0.1.0", "v1.0.0"}, stage: "v1.0.0", wait: AlreadyThere,
		},
		{
			name: "both: a tag on an older commit, and Dev's is not captured again", source: "{capture: [sync, tag]}",
			first: func(s *shop) { s.tag("v0.1.0", s.tip()) },
			then: func(s *shop) {
				old := s.grow("2")
				s.settle(func() *Engine { return s.engine(nil) })
				s.grow("3")
				s.settle(func() *Engine { return s.engine(nil) })
				s.tag("v1.0.0", old)
			},
			want: []string{"v0.1.0", "v0.2.0", "v0.3.0", "v1.0.0"}, stage: "v1.0.0", wait: AlreadyThere,
		},
		{
			name: "both: the first tag is on an older commit, and may be older than the pipeline", source: "{capture: [sync, tag]}",
			first: func(*shop) {},
			then: func(s *shop) {
				old := s.tip()
				s.grow("2")
				s.settle(func() *Engine { return s.engine(nil) })
				s.tag("v1.0.0", old)
			},
			want: []string{"v0.1.0", "v0.2.0"}, stage: "v0.2.0", wait: TagOlder, says: "which is snapshot shop/v0.2.0",
		},
		{
			name: "both: not merged yet, and Dev gets another version", source: "{capture: [sync, tag]}",
			first: func(s *shop) { s.tag("v1.4.0", s.tip()) },
			then: func(s *shop) {
				s.tag("v1.5.0", s.aside("x"))
				s.tag("v7.0.0", s.aside("y"))
				s.grow("2")
			},
			want: []string{"v1.4.0", "v1.6.0"}, stage: "v1.6.0", wait: TagNotOnBranch, says: "v7.0.0",
		},
		{
			name: "both: Dev goes on above the tag", source: "{capture: [sync, tag]}",
			first: func(s *shop) { s.tag("v1.0.0", s.tip()) },
			then:  func(s *shop) { s.grow("2") },
			want:  []string{"v1.0.0", "v1.1.0"}, stage: "v1.1.0",
		},
		{
			name: "both: the version is taken", source: "{capture: [sync, tag]}",
			first: func(*shop) {},
			then:  func(s *shop) { s.tag("v0.1.0", s.aside("x")) },
			want:  []string{"v0.1.0"}, stage: "v0.1.0", wait: TagDiffers, says: "not captured because of this tag",
		},
		{
			name: "from sync to tag: the tags were there before", source: "{capture: sync}",
			first: func(s *shop) {
				for i := range 9 {
					s.tag(fmt.Sprintf("v1.%d.0", i), s.tip())
				}
			},
			then: func(s *shop) { s.commit(capturing("{capture: tag}")) },
			want: []string{"v0.1.0", "v1.8.0"}, stage: "v1.8.0", wait: TagOlder, says: "v1.7.0, v1.6.0, v1.5.0 and 5 more",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := test.source
			if source == "" {
				source = "{capture: tag}"
			}
			s := newShop(t, capturing(source))
			test.first(s)
			s.settle(func() *Engine { return s.engine(nil) })
			before := maps.Clone(s.refs())
			if test.then != nil {
				test.then(s)
				s.settle(func() *Engine { return s.engine(nil) })
			}
			if diff := cmp.Diff(test.want, s.snapshots()); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
			for ref, id := range before {
				if strings.HasPrefix(ref, gitrepo.Tags+"shop/") && s.refs()[ref] != id {
					t.Errorf("%s moved", ref)
				}
			}
			if got := s.entry("stage").Snapshot; !got.IsZero() && got.Number() != test.stage || got.IsZero() && test.stage != "" {
				t.Errorf("stage runs %q, want %s", got, test.stage)
			}
			waits := s.reconcile().Waits
			for _, wait := range waits {
				if wait.Reason == test.wait && strings.Contains(wait.String(), test.says) {
					return
				}
			}
			if test.wait != "" {
				t.Errorf("waits %v, want %s: %s", waits, test.wait, test.says)
			}
			for _, wait := range waits {
				if strings.HasPrefix(string(wait.Reason), "TAG_") && wait.Reason != TagExpected {
					t.Errorf("unexpected %s", wait)
				}
			}
		})
	}
}

// TestOnlyTheHighestEntersStage: a release that arrives together with a newer
// one is available, and Stage never points at it.
func TestOnlyTheHighestEntersStage(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.0.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	s.tag("v1.1.0", s.grow("2"))
	s.tag("v1.2.0", s.grow("3"))
	s.settle(func() *Engine { return s.engine(nil) })
	stage, _ := s.observe().Environment("stage")
	for _, entry := range stage.History {
		if entry.Snapshot.Number() == "v1.1.0" {
			t.Errorf("stage: %s", entry.Subject())
		}
	}
}

// TestTagOfMissingImage: what is missing is named with service, application
// and commit; the next release does not wait for it, and nothing else gets its
// version.
func TestTagOfMissingImage(t *testing.T) {
	s := newShop(t, capturing("{capture: [sync, tag]}"))
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:0123abc")})
	broken := s.tip()
	s.tag("v0.2.0", broken)
	s.commit(gitrepotest.Files{"envs/stage/orders/deployment.yaml": deployment("orders", "dev.example/shop/orders:v1")})
	s.argo.follow(t)
	writes := s.registries["stage"].Writes()
	_, err := s.engine(nil).Reconcile(t.Context())
	mustContain(t, err, "IMAGE_MISSING", "capture shop/v0.2.0", "dev.example/shop/orders:0123abc", "stage/orders", broken.Short())
	if diff := cmp.Diff([]string{"v0.1.0", "v0.3.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	for _, line := range s.registries["stage"].Log()[writes:] {
		if strings.Contains(line, "v0.2.0") {
			t.Errorf("written for a release that cannot be: %s", line)
		}
	}
}

// between lets something happen after the engine has observed, at its first
// transfer.
func between(e *Engine, happen func()) {
	done := false
	e.Progress = func(string, mirror.Progress) {
		if !done {
			done = true
			happen()
		}
	}
}

// TestTagMovedDuringCapture: the push does not take place, no image gets the
// tag, and it is captured where it is now, before anything higher.
func TestTagMovedDuringCapture(t *testing.T) {
	for name, set := range map[string]func(*shop, string, gitrepo.Hash){"lightweight": (*shop).tag, "annotated": (*shop).annotate} {
		t.Run(name, func(t *testing.T) {
			s := tagShop(t)
			s.tag("v1.0.0", s.tip())
			s.settle(func() *Engine { return s.engine(nil) })
			set(s, "v1.5.0", s.tip())
			s.push("orders", "v2")
			next := deployment("orders", "dev.example/shop/orders:v2")
			s.commit(gitrepotest.Files{"envs/stage/orders/deployment.yaml": next, "envs/prod/orders/deployment.yaml": next})
			meant := s.tip()
			s.tag("v1.6.0", s.grow("higher"))
			e := s.engine(nil)
			between(e, func() { set(s, "v1.5.0", meant) })
			result, err := e.Reconcile(t.Context())
			if err != nil || hasWait(result.Waits, "dev", TagDiffers) {
				t.Fatalf("waits %v, %v", result.Waits, err)
			}
			if diff := cmp.Diff([]string{"v1.0.0", "v1.5.0", "v1.6.0"}, s.snapshots()); diff != "" {
				t.Fatalf("snapshots (-want +got):\n%s", diff)
			}
			if snap := s.read("shop/v1.5.0"); snap.Source != meant {
				t.Errorf("captured %s, want %s", snap.Source, meant)
			}
			// The tag on an image is never moved, so the first commit's did not get it.
			if d, err := s.registries["stage"].Resolve(t.Context(), "orders", "v1.5.0"); err != nil || d.Digest != s.built["orders:v2"].Digest() {
				t.Errorf("v1.5.0 names %s, %v", d.Digest, err)
			}
		})
	}
}

// TestTagDeletedDuringCapture: there is nothing left to capture.
func TestTagDeletedDuringCapture(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	repo := &hidden{Repo: s.server.Client()}
	e := s.engine(repo)
	between(e, func() { repo.ref = "refs/tags/v1.5.0" })
	result, err := e.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.snapshots()) > 0 {
		t.Errorf("snapshots %v", s.snapshots())
	}
	if len(result.Done) > 0 || hasWait(result.Waits, "dev", TagNotOnBranch) {
		t.Errorf("done %v, waits %v", result.Done, result.Waits)
	}
	if result, err = s.engine(repo).Reconcile(t.Context()); err != nil || !hasWait(result.Waits, "dev", TagExpected) {
		t.Errorf("afterwards: %v, %v", result.Waits, err)
	}
}

// hidden does not show one ref.
type hidden struct {
	gitrepo.Repo
	ref string
}

func (h *hidden) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	refs, err := h.Repo.Refs(ctx, prefixes...)
	delete(refs, h.ref)
	return refs, err
}

// TestTagLostRace: somebody else captures the version while images are copied.
func TestTagLostRace(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	e := s.engine(nil)
	between(e, func() {
		if _, err := s.engine(nil).Reconcile(t.Context()); err != nil {
			t.Error(err)
		}
	})
	result, err := e.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range result.Done {
		if step.Kind == Capture {
			t.Errorf("captured twice: %s", step)
		}
	}
	if diff := cmp.Diff([]string{"v1.5.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	s.checkImages(t)
}

// TestTagOfAnotherCluster: a hook that does not see Dev leaves the capture to
// the one that does; it may have no credentials for Dev's registry.
func TestTagOfAnotherCluster(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	e := s.engine(nil)
	e.Environments = []string{"prod"}
	if result, err := e.Reconcile(t.Context()); err != nil || len(result.Done) > 0 {
		t.Errorf("done %v, %v", result.Done, err)
	}
}

// TestTagWithoutArgoCD: tags do not need it.
func TestTagWithoutArgoCD(t *testing.T) {
	s := tagShop(t)
	s.tag("v1.5.0", s.tip())
	e := s.engine(nil)
	e.Applications = nil
	if result, err := e.Reconcile(t.Context()); err != nil || len(result.Done) != 1 {
		t.Errorf("done %v, %v", result.Done, err)
	}
}

// TestTagByHand: a person captures what the rules leave alone, and Stage stays
// where it is.
func TestTagByHand(t *testing.T) {
	s := tagShop(t)
	old := s.tip()
	s.tag("v1.5.0", s.grow("2"))
	s.settle(func() *Engine { return s.engine(nil) })
	s.tag("v1.4.0", old)
	e := s.engine(nil)
	state := s.observe()
	if _, err := PlanTag(state, "next", old); err == nil {
		t.Error("a tag without a version was accepted")
	}
	_, err := PlanTag(state, "v1.5.0", old)
	mustContain(t, err, "ALREADY_THERE")
	step, err := PlanTag(state, "v1.4.0", old)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), state, step); err != nil {
		t.Fatal(err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	if diff := cmp.Diff([]string{"v1.4.0", "v1.5.0"}, s.snapshots()); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
	if got := s.entry("stage").Snapshot.Number(); got != "v1.5.0" {
		t.Errorf("stage runs %s", got)
	}
	if snap := s.read("shop/v1.4.0"); snap.Source != old || snap.Lock.Source.Tag != "v1.4.0" {
		t.Errorf("captured %s of tag %q", snap.Source, snap.Lock.Source.Tag)
	}
}

// TestTagsIdle: a look at a repository in which nothing happened is one round
// trip, whatever tags there are.
func TestTagsIdle(t *testing.T) {
	s := tagShop(t)
	s.tag("v0.9.0", s.tip())
	s.annotate("v1.0.0", s.tip())
	s.settle(func() *Engine { return s.engine(nil) })
	s.annotate("v1.1.0", s.aside("x"))
	s.tag("v1.2.0", s.aside("y"))
	s.tag("vnext", s.tip())
	s.annotate("v1.0.0", s.aside("z"))
	e := s.engine(nil)
	look := func() int {
		before := s.server.RoundTrips()
		if _, err := e.Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.server.RoundTrips() - before
	}
	look()
	if trips := look(); trips != 1 {
		t.Errorf("%d round trips", trips)
	}
}

// TestTagsFirstLook: neither do the tags of ten years cost one each.
func TestTagsFirstLook(t *testing.T) {
	trips := func(tags int) int {
		s := tagShop(t)
		for i := range tags {
			s.annotate(fmt.Sprintf("v1.%d.0", i), s.aside(fmt.Sprint(i)))
		}
		before := s.server.RoundTrips()
		if _, err := s.engine(nil).Observe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.server.RoundTrips() - before
	}
	if few, many := trips(1), trips(500); few != many {
		t.Errorf("%d round trips with one tag, %d with 500", few, many)
	}
}

// TestTagOfNoCommit: on a real server a tag may name anything. The others are
// captured all the same.
func TestTagOfNoCommit(t *testing.T) {
	s := tagShop(t)
	server := gitrepotest.Server(t, githttp.Options{})
	server.Init("shop.git")
	open := func() gitrepo.Repo {
		repo, err := remote.Open(server.URL+"/shop.git", remote.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return repo
	}
	files := gitrepotest.Files{}
	for _, name := range []string{"stage", "prod", "dev"} {
		files["envs/"+name+"/orders/deployment.yaml"] = deployment("orders", "dev.example/shop/orders:v1")
	}
	maps.Copy(files, capturing("{capture: tag}"))
	tip := gitrepotest.Grow(t, open(), "refs/heads/main", files)
	dir := server.Dir("shop.git")
	run := func(args ...string) string { return strings.TrimSpace(gitrepotest.Git(t, dir, "", args...)) }
	run("tag", "v3.0.0", run("rev-parse", string(tip)+":"+config.File))
	run("tag", "v4.0.0", run("rev-parse", string(tip)+"^{tree}"))
	run("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "tag", "-a", "-m", "x", "v5.0.0", run("rev-parse", string(tip)+":"+config.File))
	run("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "tag", "-a", "-m", "x", "v1.5.0", string(tip))
	run("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "tag", "-a", "-m", "x", "v1.6.0", "v1.5.0")

	e := s.engine(open())
	e.Applications = nil
	result, err := e.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Done) != 1 || result.Done[0].Commit != tip || result.Done[0].Tag != "v1.6.0" {
		t.Errorf("done %v", result.Done)
	}
	if !hasWait(result.Waits, "dev", TagNotOnBranch) {
		t.Errorf("waits %v", result.Waits)
	}
}

// TestDifferentCommits: who waits for whom.
func TestDifferentCommits(t *testing.T) {
	s := newShop(t)
	s.argo.follow(t)
	before := s.tip()
	s.grow("2")
	behind := s.argo.applications["dev-jobs"]
	s.argo.follow(t)
	s.argo.applications["dev-jobs"] = behind
	for range 10 {
		want := fmt.Sprintf("Applications are at different commits: dev-jobs at %s, dev-orders at %s", before.Short(), s.tip().Short())
		if got := s.observe().CandidateWait.Detail; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// TestTagReasonsHaveHelp: see TestReasonsHaveHelp.
func TestTagReasonsHaveHelp(t *testing.T) {
	for _, r := range []Reason{TagExpected, TagNotVersion, TagNotOnBranch, TagOlder, TagDiffers, TagWithoutConfig} {
		if r.Help() == "" {
			t.Errorf("%s has no help", r)
		}
	}
}

// FuzzSourceTag: a name that says a version is the only one that says it, so
// that two tags never ask for the same snapshot.
func FuzzSourceTag(f *testing.F) {
	for _, pattern := range []string{"v*", "*", "shop-v*", "v*-x"} {
		for _, name := range []string{"v1.5.0", "1.5.0", "v01.5.0", "shop-v1.5.0", "v1.5.0-rc.1", "v1.5.0-x", "v", "v1.5", "v1.5.0/x"} {
			f.Add(pattern, name)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.Count(pattern, "*") != 1 {
			return // the configuration refuses it
		}
		p := &config.Pipeline{Name: "shop", Source: config.Source{Capture: []config.CaptureMode{config.CaptureTag}, Tags: pattern}}
		version, ok := SourceTag(p, name)
		if !ok {
			return
		}
		if want := strings.Replace(pattern, "*", strings.TrimPrefix(version.Number(), "v"), 1); name != want {
			t.Errorf("%q in %q is %s, which is %q", name, pattern, version, want)
		}
	})
}
