package promotion

import (
	"context"
	"maps"
	"slices"
	"testing"
)

// cached is an API server that answers from a cache, unless the list has to be
// exact.
type cached struct {
	*argo
	cache []Application
	exact int
}

func (c *cached) List(ctx context.Context, pipeline string) ([]Application, error) {
	if IsExact(ctx) {
		c.exact++
		return c.argo.List(ctx, pipeline)
	}
	return c.cache, nil
}

// TestNothingIsDoneOnTheWordOfACache: Applications that were healthy a moment ago
// are not: nothing is captured, recorded or promoted for what they were. A look
// that would do nothing asks for nothing more.
func TestNothingIsDoneOnTheWordOfACache(t *testing.T) {
	s := newShop(t)
	s.argo.follow(t)
	c := &cached{argo: s.argo}
	look := func(engine *Engine) []Step {
		t.Helper()
		engine.Applications, c.exact = c, 0
		result, err := engine.Reconcile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return result.Done
	}
	remember := func() { c.cache = slices.Collect(maps.Values(s.argo.applications)) }
	all := func(health string) {
		for name, a := range s.argo.applications {
			a.Health = health
			s.argo.applications[name] = a
		}
	}
	remember()
	all("Degraded")
	if done := look(s.engine(nil)); len(done) > 0 || c.exact == 0 {
		t.Errorf("%v was done with a Dev that is degraded, after %d exact lists", done, c.exact)
	}
	all("Healthy")
	if done := look(s.engine(nil)); len(done) == 0 {
		t.Error("nothing was captured")
	}
	s.settle(func() *Engine { return s.engine(nil) })
	remember()
	if done := look(s.engine(nil)); len(done) > 0 || c.exact > 0 {
		t.Errorf("%v was done, and %d exact lists were asked for, with nothing to do", done, c.exact)
	}
}
