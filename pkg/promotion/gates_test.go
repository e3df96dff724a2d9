package promotion

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// oracle is a gate of the world outside, and opens as every gate.
type oracle struct {
	mu       sync.Mutex // guards the rest
	says     gate.Verdict
	broken   error
	asked    []gate.Subject
	judgment func() // called when it is asked
}

func (o *oracle) Open(config.Gate, Sources) (gate.Gate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o, o.broken
}

func (o *oracle) Judge(_ context.Context, s gate.Subject) gate.Verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, s)
	if o.judgment != nil {
		o.judgment()
	}
	return o.says
}

func (o *oracle) say(v gate.Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.says = v
}

// gated is the shop with gates before prod.
func gated(t *testing.T, gates string) *shop {
	t.Helper()
	text := strings.Replace(configuration, "registry: prod, promote: auto}", "registry: prod, promote: auto, gates: ["+gates+"]}", 1)
	if text == configuration {
		t.Fatal("the configuration has changed")
	}
	return newShop(t, gitrepotest.Files{config.File: text})
}

func (s *shop) asking(o *oracle) func() *Engine {
	return func() *Engine {
		e := s.engine(nil)
		e.Gates = o
		return e
	}
}

const httpGate = `{http: {url: "https://checks.example/{version}"}}`

// TestGateOfTheWorldOutside: it is asked about what passes everything else, and
// again before the environment moves; what it said is recorded.
func TestGateOfTheWorldOutside(t *testing.T) {
	o := &oracle{says: gate.Verdict{Result: gate.Wait, Detail: "12 % errors"}}
	s := gated(t, "{approval: {count: 1}}, "+httpGate)
	s.settle(s.asking(o))
	if len(o.asked) > 0 {
		t.Errorf("it was asked without an approval: %+v", o.asked)
	}
	s.approve("prod", "v0.1.0")
	s.settle(s.asking(o))
	if len(o.asked) == 0 || !s.entry("prod").Snapshot.IsZero() {
		t.Fatalf("asked %d times, prod has %s", len(o.asked), s.entry("prod").Snapshot)
	}
	subject := o.asked[0]
	if subject.Pipeline != "shop" || subject.Environment != "prod" || subject.Version != version(t, "shop/v0.1.0") || len(subject.Images) != 3 {
		t.Errorf("it was asked about %+v", subject)
	}
	for _, image := range subject.Images {
		if !strings.HasPrefix(image.Reference, "stage.example/shop/") || !strings.HasSuffix(image.Reference, "@"+image.Digest) {
			t.Errorf("image %+v", image)
		}
	}
	asked := len(o.asked)
	o.say(gate.Verdict{Result: gate.Pass, Detail: "0.1 % errors"})
	s.settle(s.asking(o))
	if len(o.asked) < asked+2 {
		t.Errorf("it was asked %d times more, and not again after the images were mirrored", len(o.asked)-asked)
	}
	state, err := s.engine(nil).Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	prod, _ := state.Environment("prod")
	promoted := prod.History[len(prod.History)-2]
	if len(promoted.Gates) != 2 || promoted.Gates[1].Gate != "http" || promoted.Gates[1].Result != "pass" || promoted.Gates[1].Detail != "0.1 % errors" {
		t.Errorf("recorded: %+v", promoted.Gates)
	}
}

// TestGateClosesWhileImagesAreMirrored: the promotion is given up.
func TestGateClosesWhileImagesAreMirrored(t *testing.T) {
	o := &oracle{says: gate.Verdict{Result: gate.Pass}}
	o.judgment = func() {
		if len(o.asked) > 1 {
			o.says = gate.Verdict{Result: gate.Wait, Detail: "not any more"}
		} else {
			o.says = gate.Verdict{Result: gate.Pass}
		}
	}
	s := gated(t, httpGate)
	s.settle(s.asking(o))
	if got := s.entry("prod"); !got.Snapshot.IsZero() {
		t.Errorf("prod has %s", got.Snapshot)
	}
	if len(o.asked) < 2 {
		t.Errorf("it was asked %d times", len(o.asked))
	}
}

// TestGateNeverPassesByMistake: whatever is not a clear pass waits, with a name
// for it.
func TestGateNeverPassesByMistake(t *testing.T) {
	for _, test := range []struct {
		name   string
		gates  Gates
		reason Reason
		detail string
	}{
		{"wait", &oracle{says: gate.Verdict{Result: gate.Wait, Detail: "later"}}, GateClosed, "later"},
		{"refuse", &oracle{says: gate.Verdict{Result: gate.Refuse, Detail: "never"}}, GateClosed, "never"},
		{"unknown", &oracle{says: gate.Verdict{Result: gate.Unknown, Detail: "no answer"}}, GateUnknown, "no answer"},
		{"no word", &oracle{}, GateUnknown, "which is no verdict"},
		{"another word", &oracle{says: gate.Verdict{Result: "PASS"}}, GateUnknown, `"PASS", which is no verdict`},
		{"skip is for people", &oracle{says: gate.Verdict{Result: skip}}, GateUnknown, "which is no verdict"},
		{"cannot be opened", &oracle{broken: errors.New("no such program")}, GateUnknown, "no such program"},
		{"nobody can ask", nil, GateUnknown, "cannot be asked from here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := gated(t, httpGate)
			engine := func() *Engine {
				e := s.engine(nil)
				if test.gates != nil {
					e.Gates = test.gates
				}
				return e
			}
			s.settle(engine)
			if got := s.entry("prod"); !got.Snapshot.IsZero() {
				t.Fatalf("prod has %s", got.Snapshot)
			}
			result, err := engine().Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(result.Waits, func(w Wait) bool {
				return w.Environment == "prod" && w.Reason == test.reason && strings.Contains(w.Detail, test.detail)
			}) {
				t.Errorf("waits %v", result.Waits)
			}
		})
	}
}

// TestNewestIsAskedFirst: an older snapshot does not overtake one whose gate has
// to be asked first, and goes when the newest is refused.
func TestNewestIsAskedFirst(t *testing.T) {
	o := &oracle{says: gate.Verdict{Result: gate.Wait}}
	s := gated(t, httpGate)
	s.settle(s.asking(o))
	s.next("v2") // settles with engines that have no gates
	o.say(gate.Verdict{Result: gate.Pass})
	s.settle(s.asking(o))
	if got := s.events("prod"); !slices.Equal(got, []string{"open", "promote v0.2.0", "deployed v0.2.0"}) {
		t.Errorf("events of prod: %q", got)
	}
}

// TestExplain: every rule and gate says something, in order.
func TestExplain(t *testing.T) {
	o := &oracle{says: gate.Verdict{Result: gate.Wait, Detail: "12 % errors"}}
	s := gated(t, "{approval: {count: 1}}, {validation: {}}, {soak: 1h}, "+httpGate)
	s.settle(s.asking(o))
	e := s.asking(o)()
	state, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	prod, _ := state.Environment("prod")
	found, err := e.Explain(t.Context(), state, prod, version(t, "shop/v0.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, strings.TrimSpace(strings.Join([]string{f.Check, string(f.Result), string(f.Reason)}, " ")))
	}
	want := []string{
		"current pass", "evidence pass", "rejected pass", "admission pass", "hold pass", "frozen pass", "hotfixes pass",
		"approval wait APPROVAL_MISSING", "validation wait NOT_TESTED", "soak wait SOAK_NOT_REACHED", "http wait GATE_CLOSED", "renders pass", "images pass", "promote pass",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestValidationGate: whoever tests decides.
func TestValidationGate(t *testing.T) {
	s := gated(t, "{validation: {}}")
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.reasonOf("prod", "v0.1.0"); got != NotTested {
		t.Errorf("reason %s", got)
	}
	s.mustNote("stage", Note{Event: "validate", Passed: true, Reason: "412 tests"})
	s.settle(func() *Engine { return s.engine(nil) })
	entry := s.entry("prod")
	if entry.Snapshot.Number() != "v0.1.0" {
		t.Fatalf("prod has %s", entry.Snapshot)
	}
}

// TestAdmissionOfReleases: while a release is under way nothing else enters, and
// then the newest of what waits.
func TestAdmissionOfReleases(t *testing.T) {
	text := strings.NewReplacer(
		"registry: stage, promote: auto}", "registry: stage, promote: auto, admit: release}",
		"registry: prod, promote: auto}", "registry: prod, promote: auto, gates: [{approval: {count: 1}}]}",
	).Replace(configuration)
	s := newShop(t, gitrepotest.Files{config.File: text})
	s.settle(func() *Engine { return s.engine(nil) })
	phase := func(v string) Phase {
		state, err := s.engine(nil).Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return state.Phase(version(t, "shop/"+v))
	}
	if got := phase("v0.1.0"); got != PhaseValidated {
		t.Errorf("v0.1.0 is %s", got)
	}
	s.next("v2")
	s.next("v3")
	if got := s.entry("stage").Snapshot.Number(); got != "v0.1.0" {
		t.Fatalf("stage has %s while v0.1.0 is under way", got)
	}
	if got := s.reasonOf("stage", "v0.3.0"); got != ReleaseInProgress {
		t.Errorf("reason %s", got)
	}
	if got := phase("v0.3.0"); got != PhaseOpen {
		t.Errorf("v0.3.0 is %s", got)
	}
	s.approve("prod", "v0.1.0")
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("stage").Snapshot.Number(); got != "v0.3.0" {
		t.Errorf("stage has %s after the release", got)
	}
	if got := s.entry("prod").Snapshot.Number(); got != "v0.1.0" {
		t.Errorf("prod has %s", got)
	}
	for v, want := range map[string]Phase{"v0.1.0": PhaseReleased, "v0.2.0": PhaseSuperseded, "v0.3.0": PhaseValidated} {
		if got := phase(v); got != want {
			t.Errorf("%s is %s, want %s", v, got, want)
		}
	}
	// A rejected release makes room, too.
	s.next("v4")
	s.mustNote("stage", Note{Event: "reject", Reason: "wrong prices"})
	if got := phase("v0.3.0"); got != PhaseRejected {
		t.Errorf("v0.3.0 is %s", got)
	}
	s.clock = s.clock.Add(time.Minute)
	s.settle(func() *Engine { return s.engine(nil) })
	if got := s.entry("stage").Snapshot.Number(); got != "v0.4.0" {
		t.Errorf("stage has %s after the rejection", got)
	}
}

// TestGateIsNotAskedAllTheTime: what lets nothing pass is asked for again after a
// while, or when the gate itself says that it may have changed.
func TestGateIsNotAskedAllTheTime(t *testing.T) {
	o := &oracle{says: gate.Verdict{Result: gate.Wait}}
	s := gated(t, httpGate)
	s.settle(s.asking(o))
	e := s.asking(o)()
	look := func() int {
		t.Helper()
		before := len(o.asked)
		if _, err := e.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(o.asked) - before
	}
	if first, second := look(), look(); first != 1 || second != 0 {
		t.Errorf("asked %d times, then %d times", first, second)
	}
	s.clock = s.clock.Add(verdictLife)
	o.say(gate.Verdict{Result: gate.Wait, Until: s.clock.Add(time.Second)})
	if got := look(); got != 1 {
		t.Errorf("after %s asked %d times", verdictLife, got)
	}
	s.clock = s.clock.Add(time.Second)
	o.say(gate.Verdict{Result: gate.Pass})
	if got := look(); got < 2 || s.entry("prod").Snapshot.IsZero() {
		t.Errorf("at the time that it named asked %d times", got)
	}
}

// reading is a gate that reads what it may of the pipeline when it is opened.
type reading struct {
	mu       sync.Mutex // guards the rest
	key      string
	lost     error
	registry string
	subject  gate.Subject
}

func (r *reading) Open(g config.Gate, from Sources) (gate.Gate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, err := from.File(g.Signatures.Key)
	if err != nil {
		return nil, err
	}
	where, err := from.Registry()
	if err != nil {
		return nil, err
	}
	r.key, r.registry = string(key), where.Name()
	_, r.lost = from.File("keys/lost.pub")
	return r, nil
}

func (r *reading) Judge(_ context.Context, s gate.Subject) gate.Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subject = s
	return gate.Verdict{Result: gate.Wait, Detail: "not signed"}
}

// TestSourcesOfGates: a gate reads files of the source branch and the registry
// of the environment before; and an image that is not signed has its own reason.
func TestSourcesOfGates(t *testing.T) {
	text := strings.Replace(configuration, "registry: prod, promote: auto}", "registry: prod, promote: auto, gates: [{signatures: {key: keys/cosign.pub}}]}", 1)
	for _, test := range []struct {
		name   string
		files  gitrepotest.Files
		reason Reason
		detail string
	}{
		{"key", gitrepotest.Files{config.File: text, "keys/cosign.pub": "the key"}, SignatureMissing, "not signed"},
		{"no key", gitrepotest.Files{config.File: text}, GateUnknown, "keys/cosign.pub cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &reading{}
			s := newShop(t, test.files)
			engine := func() *Engine {
				e := s.engine(nil)
				e.Gates = r
				return e
			}
			s.settle(engine)
			state, err := engine().Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			prod, _ := state.Environment("prod")
			found, err := engine().Explain(t.Context(), state, prod, version(t, "shop/v0.1.0"))
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(found, func(f Finding) bool { return f.Check == "signatures" })
			if i < 0 || found[i].Reason != test.reason || !strings.Contains(found[i].Detail, test.detail) {
				t.Errorf("%+v, want %s: %s", found, test.reason, test.detail)
			}
			if test.reason == GateUnknown {
				return
			}
			if r.key != "the key" || r.registry != "stage.example/shop" || !errors.Is(r.lost, fs.ErrNotExist) {
				t.Errorf("read %q from the branch, %v for what is not there, images in %s", r.key, r.lost, r.registry)
			}
			for _, image := range r.subject.Images {
				if !image.Own && !strings.HasPrefix(image.Name, "docker.io/") || image.Reference != r.registry+"/"+image.Repo+"@"+image.Digest {
					t.Errorf("image %+v", image)
				}
			}
		})
	}
}
