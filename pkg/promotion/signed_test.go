package promotion

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

const lead = "lead@shop.example"

// asking is a shop whose prod is promoted by hand, and takes requests of the lead.
// Its first snapshot is in stage.
func asking(t *testing.T, k ssh.Signer, gates string) *shop {
	t.Helper()
	prod := "registry: prod, promote: manual, requests: {signers: keys/managers}"
	if gates != "" {
		prod += ", gates: " + gates
	}
	s := newShop(t, gitrepotest.Files{
		config.File:     strings.Replace(configuration, "registry: prod, promote: auto", prod, 1),
		"keys/managers": lead + " " + string(ssh.MarshalAuthorizedKey(k.PublicKey())),
	})
	s.clock = time.Now().UTC().Truncate(time.Second) // keys are valid today
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("stage").Event; got != snapshot.EventDeployed {
		t.Fatalf("stage: %s", got)
	}
	return s
}

// requested is a request tag in the making.
type requested struct {
	asked   snapshot.Request
	when    time.Time
	object  gitrepo.Hash
	name    string // instead of the right one
	ref     string // instead of the name, without refs/tags/
	message string // instead of the right one
	email   string
	key     ssh.Signer
}

func (s *shop) ask(k ssh.Signer, asked snapshot.Request, change ...func(*requested)) (tag string, id gitrepo.Hash) {
	s.t.Helper()
	asked.Pipeline = "shop"
	if asked.Environment == "" {
		asked.Environment = "prod"
	}
	r := requested{asked: asked, when: s.clock, object: s.tip(), email: lead, key: k}
	if !asked.Version.IsZero() {
		r.object = s.refs()[asked.Version.Ref()]
	}
	for _, c := range change {
		c(&r)
	}
	if r.message == "" {
		var err error
		if r.message, err = r.asked.Message(); err != nil {
			s.t.Fatal(err)
		}
	}
	if r.name == "" {
		r.name = r.asked.Name(r.when, fmt.Sprintf("%016x", time.Now().UnixNano())).String()
	}
	object := gitrepo.NewTag(gitrepo.Tag{
		Object: r.object, Type: gitrepo.TypeCommit, Name: r.name, Message: r.message,
		Tagger: gitrepo.Signature{Name: "Lead", Email: r.email, When: r.when},
	})
	if r.key != nil {
		object = signed(s.t, object, r.key)
	}
	gitrepotest.MustPush(s.t, s.server.Client(), gitrepo.Push{
		Objects: []gitrepo.Object{object}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + cmp.Or(r.ref, r.name), New: object.ID()}},
	})
	return r.name, object.ID()
}

func promoteRequest(t *testing.T, number string) snapshot.Request {
	return snapshot.Request{Verb: snapshot.EventPromote, Version: version(t, "shop/"+number)}
}

// answers counts the entries of a ledger that name a request.
func (s *shop) answers(environment string, id gitrepo.Hash) (entries []snapshot.Entry) {
	s.t.Helper()
	e, ok := s.observe().Environment(environment)
	if !ok || e.Unreadable != "" {
		s.t.Fatalf("%s: %s", environment, e.Unreadable)
	}
	for _, entry := range e.History {
		if entry.Request.ID == id {
			entries = append(entries, entry)
		}
	}
	return entries
}

// TestRequests: each verb does what it does by hand, once, in the name of who
// signed.
func TestRequests(t *testing.T) {
	t.Parallel()
	k := key(t)
	first := version(t, "shop/v0.1.0")
	for _, test := range []struct {
		asked  snapshot.Request
		before func(*shop)
		check  func(e Environment) bool
	}{
		{snapshot.Request{Verb: snapshot.EventPromote, Version: first}, nil, func(e Environment) bool { return e.Current().Snapshot == first }},
		{snapshot.Request{Verb: snapshot.EventHold, Reason: "auditors"}, nil, func(e Environment) bool { return e.Current().Hold == "auditors" }},
		{snapshot.Request{Verb: snapshot.EventReject, Version: first, Reason: "prices"}, nil, func(e Environment) bool {
			_, why, rejected := e.rejectedIn(first)
			return rejected && why == "prices"
		}},
		{snapshot.Request{Verb: snapshot.EventValidate, Environment: "stage", Version: first, Passed: true}, nil, func(e Environment) bool {
			_, passed := e.validation(first)
			return passed
		}},
		{snapshot.Request{Verb: snapshot.EventResume, Reason: "auditors left"}, func(s *shop) {
			s.clock = s.clock.Add(-time.Minute)
			if err := s.note("prod", Note{Event: snapshot.EventHold, Reason: "auditors"}); err != nil {
				s.t.Fatal(err)
			}
			s.clock = s.clock.Add(time.Minute)
		}, func(e Environment) bool { return e.Current().Hold == "" }},
		{snapshot.Request{Verb: snapshot.EventFreeze, Reason: "Christmas", Until: time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, func(e Environment) bool { return e.Current().Frozen.Year() == 2037 }},
	} {
		t.Run(string(test.asked.Verb), func(t *testing.T) {
			t.Parallel()
			s := asking(t, k, "")
			if test.asked.Environment == "stage" {
				s.commit(gitrepotest.Files{config.File: strings.Replace(strings.Replace(configuration, "registry: prod, promote: auto", "registry: prod", 1),
					"registry: stage,", "registry: stage, requests: {signers: keys/managers},", 1)})
			}
			if test.before != nil {
				test.before(s)
			}
			tag, id := s.ask(k, test.asked)
			for range 3 {
				s.reconcile()
			}
			environment := test.asked.Environment
			if environment == "" {
				environment = "prod"
			}
			e, _ := s.observe().Environment(environment)
			entries := s.answers(environment, id)
			if !test.check(e) || len(entries) != 1 || entries[0].Actor != lead || entries[0].Request.Tag != tag || entries[0].Event != test.asked.Verb {
				t.Errorf("now %+v, answers %+v", e.Current(), entries)
			}
			if waits := s.reconcile().Waits; waitFor(waits, RequestRefused) != nil {
				t.Errorf("waits: %v", waits)
			}
		})
	}
}

// TestRollbackRequest: there and back again, and a promotion that was asked for
// before is overtaken.
func TestRollbackRequest(t *testing.T) {
	t.Parallel()
	k := key(t)
	s := asking(t, k, "")
	s.ask(k, promoteRequest(t, "v0.1.0"))
	s.settle(func() *Engine { return s.engine(nil) })
	s.next("v2")
	s.settle(func() *Engine { return s.engine(nil) })
	s.clock = s.clock.Add(time.Minute)
	s.ask(k, promoteRequest(t, "v0.2.0"))
	s.settle(func() *Engine { return s.engine(nil) })
	late := s.clock.Add(30 * time.Second)
	s.clock = s.clock.Add(time.Minute)
	_, back := s.ask(k, snapshot.Request{Verb: snapshot.EventRollback, Version: version(t, "shop/v0.1.0"), Reason: "payments"})
	s.reconcile()
	if e := s.entry("prod"); e.Event != snapshot.EventRollback || e.Snapshot.Number() != "v0.1.0" || e.Request.ID != back || e.Actor != lead {
		t.Errorf("prod: %+v", e)
	}
	_, overtaken := s.ask(k, promoteRequest(t, "v0.2.0"), func(r *requested) { r.when = late })
	s.reconcile()
	if answers := s.answers("prod", overtaken); len(answers) != 1 || answers[0].Event != snapshot.EventRefuse || !strings.Contains(answers[0].Override, "REQUEST_OVERTAKEN: a rollback came after it") {
		t.Errorf("answers: %+v", answers)
	}
	if e := s.entry("prod"); e.Snapshot.Number() != "v0.1.0" || e.Hold == "" {
		t.Errorf("prod: %+v", e)
	}
	_, again := s.ask(k, promoteRequest(t, "v0.2.0"), func(r *requested) { r.when = s.clock.Add(time.Second) })
	s.reconcile()
	if answers := s.answers("prod", again); len(answers) != 1 || answers[0].Event != snapshot.EventPromote {
		t.Errorf("answers: %+v", answers)
	}
}

// TestRequestsOfStrangers: nothing is done, nothing is written, and it is said
// why; nobody hears of it any more once its time is over.
func TestRequestsOfStrangers(t *testing.T) {
	t.Parallel()
	k, mallory := key(t), key(t)
	for _, test := range []struct {
		name   string
		change func(*shop, *requested)
		says   string
	}{
		{"not signed", func(_ *shop, r *requested) { r.key = nil }, "it is not signed"},
		{"a stranger", func(_ *shop, r *requested) { r.key = mallory }, "signed by a key that is not allowed"},
		{"another address", func(_ *shop, r *requested) { r.email = "boss@shop.example" }, "boss@shop.example"},
		{"the name of another request", func(_ *shop, r *requested) {
			r.ref = r.asked.Name(r.when, "fedcba9876543210").String()
		}, "the tag object calls itself request/prod/shop/v0.1.0/promote-"},
		{"another date than its name", func(_ *shop, r *requested) {
			r.name = r.asked.Name(r.when, "0123456789abcdef").String()
			r.when = r.when.Add(-3 * time.Hour)
		}, "not that of its name"},
		{"from the future", func(_ *shop, r *requested) { r.when = r.when.Add(10 * time.Minute) }, "its date is in the future"},
		{"too large", func(_ *shop, r *requested) { r.message = strings.Repeat("x", 70<<10) }, "at most 65536 are read"},
		{"no tag object", func(s *shop, r *requested) {
			gitrepotest.MustPush(s.t, s.server.Client(), gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + r.asked.Name(r.when, "fedcba9876543210").String(), New: r.object}}})
			r.key = nil
		}, "it is not an annotated tag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := asking(t, k, "")
			before := s.refs()["refs/heads/environments/prod"]
			s.ask(k, promoteRequest(t, "v0.1.0"), func(r *requested) { test.change(s, r) })
			result := s.reconcile()
			found := false
			for _, wait := range result.Waits {
				found = found || wait.Reason == RequestRefused && wait.Request != "" && !wait.Until.IsZero() && strings.Contains(wait.Detail, test.says)
			}
			if now := s.refs()["refs/heads/environments/prod"]; !found || now != before || len(result.Done) > 0 {
				t.Errorf("done %v, waits %v", result.Done, result.Waits)
			}
			s.clock = s.clock.Add(2 * time.Hour)
			if waits := s.reconcile().Waits; waitFor(waits, RequestRefused) != nil {
				t.Errorf("after its time: %v", waits)
			}
		})
	}
}

// TestRequestsRefused: what a signer may ask for and does not get is answered in
// the ledger, once.
func TestRequestsRefused(t *testing.T) {
	t.Parallel()
	k := key(t)
	for _, test := range []struct {
		name   string
		asked  snapshot.Request
		change func(*shop, *requested)
		says   string
	}{
		{"a message of another kind", promoteRequest(t, "v0.1.0"), func(_ *shop, r *requested) { r.message = "please\n" }, "the message is not one line"},
		{"one word too many", promoteRequest(t, "v0.1.0"), func(_ *shop, r *requested) {
			r.message, _ = r.asked.Message()
			r.message += "Propagator-Force: yes\n"
		}, `says "Propagator-Force", which this version does not know`},
		{"another version than its name", promoteRequest(t, "v0.1.0"), func(_ *shop, r *requested) {
			other := r.asked
			other.Version.Patch = 7
			r.message, _ = other.Message()
		}, "which is not what the tag is called"},
		{"another environment than its name", promoteRequest(t, "v0.1.0"), func(_ *shop, r *requested) {
			other := r.asked
			other.Environment = "stage"
			r.message, _ = other.Message()
		}, "which is not what the tag is called"},
		{"on another commit", promoteRequest(t, "v0.1.0"), func(s *shop, r *requested) { r.object = s.tip() }, "it was signed for the commit"},
		{"no such snapshot", promoteRequest(t, "v9.0.0"), func(s *shop, r *requested) { r.object = s.tip() }, "there is no snapshot shop/v9.0.0"},
		{"nothing to go back to", snapshot.Request{Verb: snapshot.EventRollback, Version: version(t, "shop/v0.1.0"), Reason: "x"}, func(s *shop, _ *requested) {}, "newer than"},
		{"what cannot be overridden", snapshot.Request{Verb: snapshot.EventPromote, Version: version(t, "shop/v0.1.0"), Reason: "x", Overrides: []string{"NOT_VALIDATED"}}, func(*shop, *requested) {}, "NOT_VALIDATED cannot be overridden"},
		{"a freeze that is past", snapshot.Request{Verb: snapshot.EventFreeze, Reason: "x", Until: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, func(*shop, *requested) {}, "which is past"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := asking(t, k, "")
			_, id := s.ask(k, test.asked, func(r *requested) { test.change(s, r) })
			s.reconcile()
			s.reconcile()
			answers := s.answers("prod", id)
			if len(answers) != 1 || answers[0].Event != snapshot.EventRefuse || !strings.Contains(answers[0].Override, test.says) || !strings.HasPrefix(answers[0].Override, lead+" asked to ") || answers[0].Actor != "test" {
				t.Fatalf("answers: %+v", answers)
			}
			if e := s.entry("prod"); !e.Snapshot.IsZero() || e.Hold != "" || !e.Frozen.IsZero() {
				t.Errorf("prod: %+v", e)
			}
			// What comes after goes on as ever.
			if err := s.byHand(Request{Environment: "prod", Version: version(t, "shop/v0.1.0")}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRequestWaits: as long as a gate is closed a request waits, up to its time.
func TestRequestWaits(t *testing.T) {
	t.Parallel()
	k := key(t)
	for _, approve := range []bool{true, false} {
		s := asking(t, k, "[{approval: {count: 1}}]")
		tag, id := s.ask(k, promoteRequest(t, "v0.1.0"))
		waits := s.reconcile().Waits
		found := false
		for _, wait := range waits {
			found = found || wait.Request == tag && wait.Reason == ApprovalMissing && wait.Until.Equal(s.clock.Add(time.Hour)) && strings.Contains(wait.Detail, lead+" asks to promote prod to shop/v0.1.0 until ")
		}
		if !found || len(s.answers("prod", id)) != 0 {
			t.Fatalf("waits: %v", waits)
		}
		if approve {
			s.sign("ada", "ada@shop.example", nil)
		}
		s.clock = s.clock.Add(59 * time.Minute)
		s.reconcile()
		s.clock = s.clock.Add(2 * time.Minute)
		s.reconcile()
		s.reconcile()
		answers := s.answers("prod", id)
		want := snapshot.EventRefuse
		if approve {
			want = snapshot.EventPromote
		}
		if len(answers) != 1 || answers[0].Event != want {
			t.Errorf("approved %t: %+v", approve, answers)
		}
		if want == snapshot.EventRefuse && !strings.Contains(answers[0].Override, "its time is over: prod shop/v0.1.0: APPROVAL_MISSING") {
			t.Errorf("refused because %s", answers[0].Override)
		}
	}
}

// TestRequestTakenBack: a tag that is deleted or moved while images are copied
// moves nothing, and one that is there again afterwards is carried out once.
func TestRequestTakenBack(t *testing.T) {
	t.Parallel()
	k := key(t)
	s := asking(t, k, "")
	tag, id := s.ask(k, promoteRequest(t, "v0.1.0"))
	e := s.engine(nil)
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var step Step
	for _, planned := range Plan(state).Steps {
		if planned.Request.ID == id {
			step = planned
		}
	}
	e.Repo = &hidden{Repo: e.Repo, ref: gitrepo.Tags + tag}
	var no *RefusedError
	if err := e.Execute(t.Context(), state, step); !errors.As(err, &no) || no.Wait.Reason != RequestRefused {
		t.Errorf("executed: %v", err)
	}
	// Two replicas, of which one has looked before the other was done.
	other := s.engine(nil)
	stale, err := other.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.reconcile()
	var moved *gitrepo.RefMovedError
	if err := other.Execute(t.Context(), stale, step); !errors.As(err, &no) && !errors.As(err, &moved) {
		t.Errorf("the second replica: %v", err)
	}
	s.settle(func() *Engine { return s.engine(nil) })
	if got := len(s.answers("prod", id)); got != 1 {
		t.Errorf("%d answers", got)
	}
}

// TestRequestsElsewhere: where nobody may ask, that is said; the requests of
// another pipeline and of other environments are none of ours.
func TestRequestsElsewhere(t *testing.T) {
	t.Parallel()
	k := key(t)
	s := asking(t, k, "")
	other := promoteRequest(t, "v0.1.0")
	other.Environment = "stage"
	s.ask(k, other)
	unknown := promoteRequest(t, "v0.1.0")
	unknown.Environment = "nowhere"
	s.ask(k, unknown)
	s.ask(k, promoteRequest(t, "v0.1.0"), func(r *requested) { r.name = "request/prod/books/v0.1.0/promote-20260302T120000Z-0123456789abcdef" })
	result := s.reconcile()
	var said []string
	for _, wait := range result.Waits {
		if wait.Reason == RequestRefused {
			said = append(said, wait.Environment+": "+wait.Detail)
		}
	}
	if len(said) != 1 || !strings.HasPrefix(said[0], "stage: ") || !strings.Contains(said[0], "nobody may ask for anything in stage") || len(result.Done) > 0 {
		t.Errorf("done %v, said %v", result.Done, said)
	}
}

// TestRequestWithBadList: a list that cannot be read lets nobody ask.
func TestRequestWithBadList(t *testing.T) {
	t.Parallel()
	k := key(t)
	s := asking(t, k, "")
	s.commit(gitrepotest.Files{"keys/managers": "lead@shop.example ssh-ed25519 ???\n"})
	s.ask(k, promoteRequest(t, "v0.1.0"))
	wait := waitFor(s.reconcile().Waits, RequestRefused)
	if wait == nil || !strings.Contains(wait.Detail, "the list of signers keys/managers cannot be used: line 1") {
		t.Errorf("%+v", wait)
	}
}
