package snapshot

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

func TestEntryMessage(t *testing.T) {
	e := promoted()
	e.Event, e.Deployed = EventDeployed, e.Since.Add(time.Minute)
	e.Hold, e.Override = "rolled back from shop/v1.6.0: it\nburns", "it burns"
	e.Gates = []Verdict{{"approval", "pass", "ada, bob"}, {"soak", "pass", ""}}
	e.ApprovedBy = []string{"ada", "bob"}
	e.Applications = []Evidence{{"orders", "prod eu/shop", "4444444444444444444444444444444444444444", "Healthy", e.Since, 3, 2}}
	const want = `deployed shop/v1.5.0 to stage

Propagator-Event: deployed
Propagator-Environment: stage
Propagator-Snapshot: shop/v1.5.0
Propagator-Source-Commit: 3f2a9c4100000000000000000000000000000001
Propagator-From: shop/v1.4.0
Propagator-Since: 2026-03-01T12:00:00Z
Propagator-Deployed: 2026-03-01T12:01:00Z
Propagator-Hold: rolled back from shop/v1.6.0: it burns
Propagator-Gate: approval pass: ada, bob
Propagator-Gate: soak pass
Propagator-Approved-By: ada
Propagator-Approved-By: bob
Propagator-Override: it burns
Propagator-Application: orders destination=prod%20eu/shop revision=4444444444444444444444444444444444444444 health=Healthy finished=2026-03-01T12:00:00Z pods=3 digests=2
Propagator-Actor: ada
`
	if diff := cmp.Diff(want, e.Message()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	agreesWithGit(t, e.Message())
}

func TestEntrySubject(t *testing.T) {
	e := promoted()
	for event, want := range map[Event]string{
		EventOpen: "open stage", EventPromote: "promote shop/v1.5.0 to stage",
		EventDeployed: "deployed shop/v1.5.0 to stage", EventRollback: "rollback stage to shop/v1.5.0",
	} {
		e.Event = event
		if got := e.Subject(); got != want {
			t.Errorf("%s: %q", event, got)
		}
	}
}

func randomEntry(r *rand.Rand) Entry {
	free := func() string {
		all := append(injected, hostile...)
		return all[r.IntN(len(all))] + all[r.IntN(len(all))]
	}
	version := func() Version { return Version{"shop", r.IntN(3), r.IntN(100), r.IntN(1e9)} }
	at := func() time.Time { return time.Unix(r.Int64N(4e9), 0).UTC() }
	maybe := func(t time.Time) time.Time {
		if r.IntN(2) == 0 {
			return time.Time{}
		}
		return t
	}
	e := Entry{
		Event: []Event{EventPromote, EventDeployed, EventRollback}[r.IntN(3)], When: at(), Environment: "stage",
		Snapshot: version(), SourceCommit: sourceCommit, Since: maybe(at()), Deployed: maybe(at()),
		Hold: free(), Override: free(), Actor: free(),
	}
	if r.IntN(2) == 0 {
		e.From = version()
	}
	for range r.IntN(3) {
		e.Gates = append(e.Gates, Verdict{"soak", "pass", free()})
		e.ApprovedBy = append(e.ApprovedBy, "who"+free())
		pods := r.IntN(3)
		e.Applications = append(e.Applications, Evidence{"a" + free(), free(), "1111111111111111111111111111111111111111", free(), maybe(at()), pods, pods / 2})
	}
	return e
}

// TestEntryRoundTrip: facts come back as they were written, free text as one
// line.
func TestEntryRoundTrip(t *testing.T) {
	target := Snapshot{ID: "1111111111111111111111111111111111111111", Tree: "2222222222222222222222222222222222222222"}
	for seed := range uint64(2000) {
		e := randomEntry(rand.New(rand.NewPCG(seed, 2))) //nolint:gosec // reproducible on purpose
		id, objects, err := Append("3333333333333333333333333333333333333333", e, target, Identity{"propagator", "p@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadEntry(stored(objects...), id)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, e.Message())
		}
		want := e
		want.Commit, want.Tree = id, target.Tree
		want.Hold, want.Override, want.Actor = oneLine(e.Hold), oneLine(e.Override), oneLine(e.Actor)
		want.Gates, want.ApprovedBy = nil, nil
		for i := range e.Gates {
			want.Gates = append(want.Gates, Verdict{"soak", "pass", oneLine(e.Gates[i].Detail)})
			want.ApprovedBy = append(want.ApprovedBy, oneLine(e.ApprovedBy[i]))
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-written +read):\n%s\n%s", seed, diff, e.Message())
		}
	}
}

// objects are a set of objects without a repository.
type objects map[gitrepo.Hash]gitrepo.Object

// stored makes a set of objects.
func stored(list ...gitrepo.Object) objects {
	all := objects{}
	for _, o := range list {
		all[o.ID()] = o
	}
	return all
}

func (o objects) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	if object, ok := o[id]; ok {
		return object, nil
	}
	return gitrepo.Object{}, gitrepo.ErrNotFound
}

func TestParseEntryFaults(t *testing.T) {
	good := promoted().Message()
	for _, test := range []struct{ name, old, new, want string }{
		{"not ours", "Propagator-Event: promote\n", "", "commit 1111111 was not written by Propagator; environment branches must be written by nobody else (protect them)"},
		{"a merge by hand", good, "Merge branch 'main' into environments/stage\n", "commit 1111111 was not written by Propagator; environment branches must be written by nobody else (protect them)"},
		{"later event", "Event: promote", "Event: sleep", `ledger commit 1111111 records the event "sleep", which this version does not know; upgrade Propagator`},
		{"bad version", "Snapshot: shop/v1.5.0", "Snapshot: latest", `ledger commit 1111111: trailer Propagator-Snapshot: "latest" is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0`},
		{"bad from", "From: shop/v1.4.0", "From: x", `ledger commit 1111111: trailer Propagator-From: "x" is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0`},
		{"no snapshot", "Propagator-Snapshot: shop/v1.5.0\n", "", "ledger commit 1111111 names no snapshot"},
		{"bad source", "Commit: " + sourceCommit, "Commit: main", `ledger commit 1111111: trailer Propagator-Source-Commit: "main" is not a full commit id`},
		{"bad time", "Since: 2026-03-01T12:00:00Z", "Since: yesterday", `ledger commit 1111111: trailer Propagator-Since: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`},
		{"bad evidence", "Propagator-Actor: ada", "Propagator-Application:", "ledger commit 1111111: trailer Propagator-Application: empty evidence"},
		{"bad evidence time", "Propagator-Actor: ada", "Propagator-Application: orders finished=now", `ledger commit 1111111: trailer Propagator-Application: parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			message := strings.Replace(good, test.old, test.new, 1)
			if message == good {
				t.Fatal("the test changes nothing")
			}
			_, err := ParseEntry("1111111111111111111111111111111111111111", gitrepo.Commit{Message: message})
			if err == nil || err.Error() != test.want {
				t.Errorf("error: %v\nwant:  %s", err, test.want)
			}
		})
	}
}

// TestParseEntryWrittenAnew: what git commit --amend and git rebase leave is not
// what Propagator wrote, even if it says the same.
func TestParseEntryWrittenAnew(t *testing.T) {
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	us := gitrepo.Signature{Name: "Propagator", Email: "propagator@shop.example", When: when}
	for _, test := range []struct {
		name string
		by   gitrepo.Signature
		fine bool
	}{
		{"Propagator", us, true},
		{"in another time zone", gitrepo.Signature{Name: us.Name, Email: us.Email, When: when.In(time.FixedZone("", 3600))}, true},
		{"later", gitrepo.Signature{Name: us.Name, Email: us.Email, When: when.Add(time.Second)}, false},
		{"a person", gitrepo.Signature{Name: "Grace", Email: us.Email, When: when}, false},
		{"another address", gitrepo.Signature{Name: us.Name, Email: "grace@shop.example", When: when}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseEntry("1111111111111111111111111111111111111111", gitrepo.Commit{Author: us, Committer: test.by, Message: promoted().Message()})
			if test.fine && err != nil {
				t.Error(err)
			}
			if want := fmt.Sprintf("ledger commit 1111111 was written anew by %s <%s>; put back the one that Propagator wrote", test.by.Name, test.by.Email); !test.fine && (err == nil || err.Error() != want) {
				t.Errorf("error: %v\nwant:  %s", err, want)
			}
		})
	}
}

// TestAppendBegins: the first entry of an environment stands on an entry that
// opens the ledger with an empty tree.
func TestAppendBegins(t *testing.T) {
	target := Snapshot{ID: "1111111111111111111111111111111111111111", Tree: "2222222222222222222222222222222222222222"}
	who := Identity{"propagator", "p@example.com"}
	id, made, err := Append("", promoted(), target, who)
	if err != nil {
		t.Fatal(err)
	}
	all := stored(made...)
	first, err := gitrepo.ReadCommit(all, id)
	if err != nil {
		t.Fatal(err)
	}
	// Second parent: git itself shows what was merged into the environment.
	if len(first.Parents) != 2 || first.Parents[1] != target.ID || first.Tree != target.Tree {
		t.Fatalf("first entry: %+v", first)
	}
	opened, err := ReadEntry(all, first.Parents[0])
	if err != nil || opened.Event != EventOpen || opened.Environment != "stage" || !opened.Snapshot.IsZero() || opened.Actor != "ada" {
		t.Errorf("opening entry: %+v, %v", opened, err)
	}
	root, err := gitrepo.ReadCommit(all, first.Parents[0])
	if err != nil || len(root.Parents) != 0 || root.Tree != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" {
		t.Errorf("root: %+v, %v", root, err)
	}

	deployed := promoted()
	deployed.Event = EventDeployed
	id, made, err = Append(id, deployed, target, who)
	if err != nil || len(made) != 1 {
		t.Fatal(made, err)
	}
	second, err := gitrepo.ReadCommit(stored(made...), id)
	if err != nil || len(second.Parents) != 1 || second.Tree != target.Tree {
		t.Errorf("evidence: %+v, %v", second, err)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(promoted().Message())
	deployed := promoted()
	deployed.Event = EventDeployed
	deployed.Applications = []Evidence{{"orders", "prod eu/shop", "1111111111111111111111111111111111111111", "Healthy", deployed.When, 0, 0}}
	deployed.Gates = []Verdict{{"approval", "pass", "ada"}}
	f.Add(deployed.Message())
	f.Add(Entry{Event: EventOpen, Environment: "stage"}.Message())
	f.Fuzz(func(t *testing.T, message string) {
		e, err := ParseEntry("", gitrepo.Commit{Message: message})
		if err != nil {
			return
		}
		again, err := ParseEntry("", gitrepo.Commit{Message: e.Message()})
		if err != nil {
			t.Fatalf("cannot be read back: %v\n%s", err, e.Message())
		}
		if again.Event != e.Event || again.Snapshot != e.Snapshot || again.From != e.From || again.SourceCommit != e.SourceCommit ||
			!again.Since.Equal(e.Since) || !again.Deployed.Equal(e.Deployed) || again.Environment != oneLine(e.Environment) || again.Hold != oneLine(e.Hold) {
			t.Errorf("-first +second:\n%s", cmp.Diff(e, again))
		}
	})
}
