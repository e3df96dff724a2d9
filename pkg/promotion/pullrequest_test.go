package promotion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// pulls is a server with pull requests, in memory. It refuses a second open one.
type pulls struct {
	shop *shop

	mu      sync.Mutex // guards the fields below
	all     []PullRequest
	drafts  []PullRequestDraft
	asked   []string
	fault   error
	blind   int // so many looks miss what is there
	noReply int // so many are opened without an answer
}

func (p *pulls) Find(_ context.Context, from, into string, _ time.Time) ([]PullRequest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, "find")
	if p.fault != nil {
		return nil, p.fault
	}
	if p.blind > 0 {
		p.blind--
		return nil, nil
	}
	var found []PullRequest
	for i, d := range p.drafts {
		if d.From == from && d.Into == into {
			found = append(found, p.all[i])
		}
	}
	slices.Reverse(found)
	return found, nil
}

func (p *pulls) Create(_ context.Context, d PullRequestDraft) (PullRequest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, "create")
	if p.fault != nil {
		return PullRequest{}, p.fault
	}
	for i, other := range p.drafts {
		if other.From == d.From && p.all[i].State == PullRequestOpen {
			return PullRequest{}, &HostError{Err: errors.New("there is one already"), Refused: true}
		}
	}
	made := PullRequest{URL: fmt.Sprintf("https://git.example/shop/pulls/%d", len(p.all)+1), State: PullRequestOpen, Head: p.shop.refs()["refs/heads/"+d.From], Body: d.Body}
	p.all, p.drafts = append(p.all, made), append(p.drafts, d)
	if p.noReply > 0 {
		p.noReply--
		return PullRequest{}, &HostError{Err: errors.New("no answer")}
	}
	return made, nil
}

func (p *pulls) Page(from, into string) string { return "https://git.example/new/" + into + "/" + from }

// end closes or merges all of them.
func (p *pulls) end(state PullRequestState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		p.all[i].State = state
	}
}

func (p *pulls) breaks(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = err
}

// questions returns what was asked, and forgets it.
func (p *pulls) questions() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

func (p *pulls) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// pulling is a shop whose Prod has had a hotfix that main lacks, just before
// anybody looks after its pull request.
func pulling(t *testing.T) (*shop, *pulls) {
	t.Helper()
	s := newShop(t, gitrepotest.Files{config.File: configuration + "hotfixes: {backMerge: pr}\n"})
	p := &pulls{shop: s}
	s.run()
	s.cut("pay", "prod")
	// The engine of another place, with no server: the branch is not pushed by it.
	s.fix("pay", note("pay, @everybody fixes #1"))
	for range 20 {
		s.argo.follow(t)
		e := s.pulling(p)
		e.PullRequests = func(*config.Pipeline) (PullRequests, error) { return nil, context.Canceled }
		state, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Plan(t.Context(), state)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Steps) == 0 {
			break
		}
		if err := e.Execute(t.Context(), state, d.Steps[0]); err != nil {
			t.Fatal(err)
		}
	}
	s.runs("prod", "shop/v0.1.1")
	if s.refs()["refs/heads/backmerge/pay"] != "" {
		t.Fatal("the branch is there too early")
	}
	return s, p
}

func (s *shop) pulling(p *pulls) *Engine {
	e := s.engine(nil)
	e.PullRequests = func(*config.Pipeline) (PullRequests, error) { return p, nil }
	return e
}

func (s *shop) reconcileWith(e *Engine) Result {
	s.t.Helper()
	s.argo.follow(s.t)
	result, err := e.Reconcile(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// TestPullRequest: one is opened, with what a person wants to know, and while it
// is as it was nobody is asked again.
func TestPullRequest(t *testing.T) {
	s, p := pulling(t)
	e := s.pulling(p)
	result := s.reconcileWith(e)
	if p.open() != 1 || s.refs()["refs/heads/backmerge/pay"] == "" || !slices.ContainsFunc(result.Done, func(step Step) bool { return step.Kind == PullRequestOpened }) {
		t.Fatalf("%d opened, done %v", p.open(), result.Done)
	}
	d := p.drafts[0]
	head := s.refs()["refs/heads/hotfix/pay"]
	if d.From != "backmerge/pay" || d.Into != "main" || d.Title != "Merge hotfix pay back to main" {
		t.Errorf("opened %+v", d)
	}
	for _, part := range []string{"stage, prod, since shop/v0.1.1", string(head), "hotfix/pay", "propagator hotfix close pay --reason", "author", "commits   " + head.Short()} {
		if !strings.Contains(d.Body, part) {
			t.Errorf("it does not say %q:\n%s", part, d.Body)
		}
	}
	for line := range strings.Lines(d.Body) {
		if strings.Contains(line, head.Short()) && !strings.HasPrefix(line, "    ") {
			t.Errorf("what people wrote is not in a block: %q", line)
		}
	}
	p.questions()
	for range 5 {
		s.reconcileWith(e)
	}
	if asked := p.questions(); len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
	s.clock = s.clock.Add(pullLife)
	s.reconcileWith(e)
	s.reconcileWith(s.pulling(p)) // as after a restart
	if asked := p.questions(); !slices.Equal(asked, []string{"find", "find"}) || p.open() != 1 {
		t.Errorf("asked %v, %d opened", asked, p.open())
	}
	// The fix comes to main: nothing is owed, and nobody is asked.
	s.ref("refs/heads/main", s.refs()["refs/heads/backmerge/pay"])
	s.clock = s.clock.Add(pullLife)
	s.reconcileWith(e)
	s.reconcileWith(s.pulling(p))
	if asked := p.questions(); len(asked) != 0 {
		t.Errorf("asked %v although nothing is owed", asked)
	}
}

// TestPullRequestClosed: what a person has closed stays closed, even if the branch
// is deleted, and says so as long as it is owed.
func TestPullRequestClosed(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		s, p := pulling(t)
		s.reconcileWith(s.pulling(p))
		p.end(PullRequestClosed)
		if deleted {
			s.server.Set("refs/heads/backmerge/pay", "")
		}
		e := s.pulling(p)
		for range 3 {
			result := s.reconcileWith(e)
			if len(result.Warnings) != 1 || result.Warnings[0].Reason != PullDeclined || result.Warnings[0].Detail != p.all[0].URL {
				t.Errorf("warnings: %v", result.Warnings)
			}
		}
		if there := s.refs()["refs/heads/backmerge/pay"] != ""; p.open() != 1 || there == deleted {
			t.Errorf("%d were opened, the branch is there: %t", p.open(), there)
		}
		if asked := p.questions(); len(asked) > 4 {
			t.Errorf("asked %v", asked)
		}
	}
}

// TestPullRequestFaults: whatever the server does, promotions go on, the branch is
// there, it is left alone for longer and longer, and in the end there is one.
func TestPullRequestFaults(t *testing.T) {
	for name, fault := range map[string]*HostError{
		"down":    {Err: errors.New("no answer within 10s")},
		"token":   {Err: errors.New("401"), Fix: "put a token there"},
		"limit":   {Err: errors.New("429"), After: 3 * time.Hour},
		"refused": {Err: errors.New("422"), Refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := pulling(t)
			p.breaks(fault)
			e := s.pulling(p)
			result := s.reconcileWith(e)
			if s.refs()["refs/heads/backmerge/pay"] == "" {
				t.Error("the branch waits for the server")
			}
			if len(result.Warnings) != 1 || result.Warnings[0].Reason != PullFailed || !strings.Contains(result.Warnings[0].Detail, fault.Error()) || !strings.Contains(result.Warnings[0].Detail, fault.Fix) || result.Warnings[0].Until.Before(s.clock.Add(pullPause)) {
				t.Errorf("warnings: %v", result.Warnings)
			}
			for range 5 * 60 {
				s.clock = s.clock.Add(time.Minute)
				s.reconcileWith(e)
			}
			if n := len(p.questions()); n > 14 || n < 2 {
				t.Errorf("asked %d times in 5 hours", n)
			}
			p.breaks(nil)
			s.clock = s.clock.Add(6 * time.Hour)
			result = s.reconcileWith(e)
			if p.open() != 1 || slices.ContainsFunc(result.Warnings, func(w Wait) bool { return w.Reason == PullFailed }) {
				t.Errorf("%d opened, warnings %v", p.open(), result.Warnings)
			}
		})
	}
}

// TestPullRequestOnce: an answer is lost, another replica is at it, the process is
// killed: there is one in the end.
func TestPullRequestOnce(t *testing.T) {
	t.Run("answer lost", func(t *testing.T) {
		s, p := pulling(t)
		p.noReply = 1
		s.reconcileWith(s.pulling(p))
		s.reconcileWith(s.pulling(p))
		if p.open() != 1 {
			t.Errorf("%d were opened", p.open())
		}
	})
	t.Run("another was faster", func(t *testing.T) {
		s, p := pulling(t)
		s.reconcileWith(s.pulling(p))
		p.blind = 1
		result := s.reconcileWith(s.pulling(p))
		if p.open() != 1 || len(result.Warnings) != 0 {
			t.Errorf("%d were opened, %v", p.open(), result.Warnings)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		s, p := pulling(t)
		s.argo.follow(t)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if _, err := s.pulling(p).Reconcile(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		s.reconcileWith(s.pulling(p))
		if p.open() != 1 {
			t.Errorf("%d were opened", p.open())
		}
	})
	t.Run("killed between branch and request", func(t *testing.T) {
		s, p := pulling(t)
		e := s.engine(nil) // it pushes the branch
		s.reconcileWith(e)
		s.reconcileWith(s.pulling(p))
		if p.open() != 1 {
			t.Errorf("%d were opened", p.open())
		}
	})
}

// TestPullRequestOfAnother: the branch has the name, and not the hotfix.
func TestPullRequestOfAnother(t *testing.T) {
	s, p := pulling(t)
	s.ref("refs/heads/backmerge/pay", s.refs()["refs/heads/main"])
	result := s.reconcileWith(s.pulling(p))
	if p.open() != 0 || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0].Detail, "does not hold the hotfix") {
		t.Errorf("%d were opened, %v", p.open(), result.Warnings)
	}
}

// TestPullRequestByPerson: a person opens one again that was closed.
func TestPullRequestByPerson(t *testing.T) {
	s, p := pulling(t)
	s.reconcileWith(s.pulling(p))
	p.end(PullRequestClosed)
	e, state := s.looked()
	h, err := state.FindHotfix("pay")
	if err != nil {
		t.Fatal(err)
	}
	tip, err := e.BackMergeTip(t.Context(), state, h)
	if err != nil || tip == "" {
		t.Fatalf("tip %q: %v", tip, err)
	}
	if found, ok, err := e.FindPullRequest(t.Context(), state, h, tip, p); err != nil || !ok || found.State != PullRequestClosed {
		t.Errorf("found %+v: %v", found, err)
	}
	for _, want := range []bool{true, false} {
		if _, opened, err := e.OpenPullRequest(t.Context(), state, h, tip, p); err != nil || opened != want {
			t.Errorf("opened %t: %v", opened, err)
		}
	}
	if p.open() != 2 {
		t.Errorf("%d were opened", p.open())
	}
}
