//go:build e2e

package e2e

import (
	"context"
	"flag"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/shop"
)

// Most scenarios begin with a company that runs v0.1.0. To found one takes as
// long as most stories, and most of that is waiting; so the companies of the
// next few scenarios are founded together, and wait at rest for their turn.

// foundedTogether is how many companies are founded at once. Each is something that
// Argo CD and the hook look after in the meantime.
const foundedTogether = 7

// planned is the company of a scenario that has not been played yet.
type planned struct {
	test     string
	kiosk    kiosk
	beside   bool           // the scenario is played side by side with others
	pipeline *shop.Pipeline // nil before it is founded
}

// plans are all of them, in the order of the scenarios, since Go initializes
// in the order of the files, as it runs tests.
var plans []*planned

// plan says which company a test will [planned.open].
func plan(test string, k kiosk) *planned {
	p := &planned{test: test, kiosk: k}
	plans = append(plans, p)
	return p
}

// planBeside is plan for a scenario that begins with [beside].
func planBeside(test string, k kiosk) *planned {
	p := plan(test, k)
	p.beside = true
	return p
}

// open returns the company of this scenario, which runs v0.1.0 as far as it goes
// by itself. At the end of the test it is closed.
func (p *planned) open(t *testing.T) *company {
	t.Helper()
	if t.Name() != p.test {
		t.Fatalf("%s opens the company of %s", t.Name(), p.test)
	}
	if p.pipeline == nil {
		foundNext(t, p)
	}
	c := &company{Pipeline: p.pipeline, t: t}
	t.Cleanup(c.close)
	return c
}

// foundNext founds a company and those of the scenarios that come next.
func foundNext(t *testing.T, first *planned) {
	t.Helper()
	batch := []*planned{first}
	for _, p := range plans[slices.Index(plans, first)+1:] {
		if len(batch) < foundedTogether && !p.beside && mine(t, p) {
			batch = append(batch, p)
		}
	}
	found(t, batch)
}

// foundBeside founds the companies of all scenarios that are played side by side,
// before the first of them goes on: hook and generator are restarted for it.
func foundBeside(t *testing.T) {
	t.Helper()
	founding.Lock()
	defer founding.Unlock()
	var batch []*planned
	for _, p := range plans {
		if p.beside && p.pipeline == nil && mine(t, p) {
			batch = append(batch, p)
		}
	}
	if len(batch) > 0 {
		found(t, batch)
	}
}

// founding is one at a time.
var founding sync.Mutex

// mine reports whether this suite plays a scenario, which nobody else does then.
func mine(t *testing.T, p *planned) bool {
	t.Helper()
	if !willPlay(p.test) {
		return false
	}
	ours, err := claimed(p.test)
	if err != nil {
		t.Fatal(err)
	}
	return ours
}

// found founds companies, and waits until they are at rest.
func found(t *testing.T, batch []*planned) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), foundedTogether*patience)
	defer cancel()
	if err := foundAll(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for _, p := range batch {
		if environment := p.kiosk.reaches(); environment != "" {
			c := &company{Pipeline: p.pipeline, t: t}
			c.awaitEvent(environment, "deployed v0.1.0")
		}
	}
}

func foundAll(ctx context.Context, batch []*planned) error {
	companies := make([]*shop.Pipeline, len(batch))
	var open, work []func() error
	for i, p := range batch {
		open = append(open, func() (err error) {
			companies[i], err = world.company(ctx, p.kiosk.content(), nil)
			return err
		})
		work = append(work, func() error { return world.putToWork(ctx, companies[i]) })
	}
	if err := together(open...); err != nil {
		return err
	}
	var repositories []string
	for _, c := range companies {
		repositories = append(repositories, c.URL())
	}
	if err := world.lookAfter(ctx, repositories...); err != nil {
		return err
	}
	if err := together(work...); err != nil {
		return err
	}
	for i, p := range batch {
		p.pipeline = companies[i]
	}
	return nil
}

// reaches is the last environment that a new company gets to without a person;
// empty if it is none.
func (k kiosk) reaches() string {
	switch {
	case k.captureOnTag:
		return ""
	case k.gated:
		return "stage"
	default:
		return "prod"
	}
}

// willPlay reports whether the flags of "go test" choose a test.
func willPlay(test string) bool {
	matches := func(name string) (given, matches bool) {
		// What is behind a slash chooses among a test's parts.
		pattern, _, parts := strings.Cut(flag.Lookup(name).Value.String(), "/")
		if pattern == "" || parts && name == "test.skip" {
			return false, false
		}
		ok, err := regexp.MatchString(pattern, test)
		return true, err == nil && ok
	}
	only, chosen := matches("test.run")
	_, skipped := matches("test.skip")
	return (!only || chosen) && !skipped
}
