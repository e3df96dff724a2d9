package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// application is one Application of Argo CD, as it is and as it is reported.
type application struct {
	env, app string

	// spec
	target string

	// The last operation. running: it is still at work.
	operation operation
	running   bool

	// The last comparison, and what was true at that moment: the cluster ran
	// what the revision says, and ran it well.
	compared   gitrepo.Hash
	synced     string
	reconciled time.Time
	health     string
	healthAt   time.Time
	asSaid     bool
	well       bool
	failed     bool

	// What is in the cluster: the content that was applied, and whether it runs
	// well. Nobody sees this but in comparisons.
	live string
	fine bool

	// at is when a copy was taken.
	at time.Time
}

type operation struct {
	phase    string
	revision gitrepo.Hash
	target   string
	finished time.Time
	dryRun   bool
	partial  bool
}

func (a application) name() string { return a.env + "-" + a.app }

// proves is the truth behind the success rule, told by what is known here and
// not by what was reported: at its last comparison the cluster ran the revision
// and ran it well, the Application still points there, and no operation began or
// ended after that. Two times in the same second have no order
// (docs/decisions/0011), so that what ended in the second of the comparison may
// have ended before it.
func (a application) proves(target string, revision gitrepo.Hash) string {
	switch {
	case a.target != target:
		return "points at " + a.target
	case a.running:
		return "an operation is at work"
	case a.operation.phase != "Succeeded" || a.operation.dryRun || a.operation.partial:
		return fmt.Sprintf("the last operation is %+v", a.operation)
	case a.failed || a.compared != revision:
		return "was compared with " + a.compared.Short()
	case !a.asSaid:
		return "did not run the revision when it was compared"
	case !a.well:
		return "was not well when it was compared"
	case a.reconciled.Truncate(time.Second).Before(a.operation.finished.Truncate(time.Second)):
		return "was compared before the operation ended"
	}
	return ""
}

// settled reports whether it was well for the settle time when it was seen, by
// Argo CD's own clock; of use where all clocks agree.
func (a application) settled(settle time.Duration) bool {
	since := a.operation.finished
	if a.healthAt.After(since) {
		since = a.healthAt
	}
	return a.at.Sub(since) >= settle
}

// argo is Argo CD with the generator in front.
type argo struct {
	world *world
	all   []*application
	// skew of its clock.
	skew time.Duration
}

func (g *argo) now() time.Time { return g.world.now.Add(g.skew) }

func (g *argo) find(env, app string) *application {
	for _, a := range g.all {
		if a.env == env && a.app == app {
			return a
		}
	}
	a := &application{env: env, app: app, fine: true}
	g.all = append(g.all, a)
	slices.SortFunc(g.all, func(a, b *application) int { return cmp.Compare(a.name(), b.name()) })
	return a
}

// copy is the truth at this moment.
func (g *argo) copy() []application {
	all := make([]application, 0, len(g.all))
	for _, a := range g.all {
		c := *a
		c.at = g.now()
		all = append(all, c)
	}
	return all
}

// report is what the API server answers: times in whole seconds, and words.
func (g *argo) report() []promotion.Application {
	var list []promotion.Application
	for _, a := range g.all {
		r := promotion.Application{
			Namespace: "argocd", Name: a.name(), RepoURL: repoURL, Path: "envs/" + a.env + "/" + a.app,
			TargetRevision: a.target, Cluster: "in-cluster", DestNamespace: "shop-" + a.env,
			Phase: a.operation.phase, FinishedAt: a.operation.finished.Truncate(time.Second),
			SyncedRevision: a.operation.revision, SyncedTarget: a.operation.target, DryRun: a.operation.dryRun, Partial: a.operation.partial,
			SyncStatus: a.synced, ComparedRevision: a.compared, ReconciledAt: a.reconciled.Truncate(time.Second),
			Health: a.health, HealthSince: a.healthAt.Truncate(time.Second), CompareError: a.failed,
		}
		if a.operation.finished.IsZero() {
			r.FinishedAt = time.Time{}
		}
		if a.running {
			r.Phase, r.FinishedAt = "Running", time.Time{}
		}
		if a.failed {
			r.SyncStatus, r.Condition = "Unknown", "ComparisonError: token="+secret
		}
		if a.env != "dev" {
			r.Environment, r.Application = a.env, a.app
		}
		switch g.world.mutation {
		case forgetsOrder:
			r.ReconciledAt = r.ReconciledAt.Add(time.Hour)
		case callsAllHealthy:
			r.Health = "Healthy"
		case callsAllFull:
			r.Partial, r.DryRun = false, false
		}
		list = append(list, r)
	}
	return list
}

// generate lets the Applications point at what the ledgers name now.
func (g *argo) generate() {
	for _, env := range []string{"stage", "prod"} {
		version := g.world.audit.current(env)
		if version == "" {
			continue
		}
		for _, app := range g.world.apps {
			g.find(env, app).target = "refs/tags/" + version
		}
	}
}

func (g *argo) refreshNamed(name string) {
	for _, a := range g.all {
		if a.name() == name {
			g.refresh(a)
		}
	}
}

// resolve is the commit that a target names.
func (g *argo) resolve(target string) gitrepo.Hash {
	if target == "main" {
		return g.world.audit.refs["refs/heads/main"]
	}
	return g.world.audit.refs[target]
}

// refresh compares.
func (g *argo) refresh(a *application) {
	revision := g.resolve(a.target)
	if revision == "" {
		return
	}
	a.failed = false
	a.compared, a.reconciled = revision, g.now()
	a.asSaid = a.live == g.world.content(revision, a.env, a.app)
	a.well = a.fine
	a.synced = "OutOfSync"
	if a.asSaid {
		a.synced = "Synced"
	}
	health := "Degraded"
	if a.fine {
		health = "Healthy"
	}
	if a.live == "" {
		health = "Missing"
		a.well = false
	}
	if health != a.health {
		a.health, a.healthAt = health, g.now()
	}
}

// begin starts an operation.
func (g *argo) begin(a *application, target string) {
	if revision := g.resolve(target); revision != "" {
		a.running, a.operation = true, operation{phase: "Running", revision: revision, target: target}
	}
}

// finish ends it.
func (g *argo) finish(a *application, phase string) {
	a.running = false
	a.operation.phase, a.operation.finished = phase, g.now()
	if phase == "Succeeded" && !a.operation.dryRun && !a.operation.partial {
		a.live = g.world.content(a.operation.revision, a.env, a.app)
	}
}

// next is what Argo CD would do by itself, and how to do it; nil when it is
// where it belongs.
func (g *argo) next(a *application) (what string, do func()) {
	wanted := "main"
	if a.env != "dev" {
		if wanted = "refs/tags/" + g.world.audit.current(a.env); wanted == "refs/tags/" {
			return "", nil
		}
	}
	full := a.operation.phase == "Succeeded" && !a.operation.partial && !a.operation.dryRun
	switch {
	case a.target != wanted:
		return "points at " + wanted, func() { a.target = wanted }
	case a.running:
		return "finishes", func() { g.finish(a, "Succeeded") }
	case a.failed || a.compared != g.resolve(a.target) || a.reconciled.Before(a.operation.finished) || a.well != (a.fine && a.live != ""):
		return "is compared", func() { g.refresh(a) }
	case a.synced != "Synced" || a.operation.phase == "" || a.operation.phase == "Failed":
		return "begins", func() { g.begin(a, a.target) }
	case !full && g.world.calm: // somebody syncs it for good
		return "begins in full", func() { g.begin(a, a.target) }
	}
	return "", nil
}

// follow does what comes next, or compares once more.
func (g *argo) follow(a *application) string {
	what, do := g.next(a)
	if do == nil {
		what, do = "is compared again", func() { g.refresh(a) }
	}
	do()
	return what
}

// busy is an Application with something to do; nil when there is none.
func (g *argo) busy(d dice) *application {
	var all []*application
	for _, a := range g.all {
		if _, do := g.next(a); do != nil {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return pick(d, all)
}

// disturb is what goes wrong in a cluster, and what people do with an
// Application by hand.
func (g *argo) disturb(a *application, d dice) (kind, what string) {
	roll := d.IntN(9)
	if g.world.meddling {
		roll = 7
	}
	switch roll {
	case 0, 1:
		a.fine = false
		return "application degrades", ""
	case 2, 3:
		a.fine = true
		return "application recovers", ""
	case 4:
		g.refresh(a)
		return "application is compared", a.synced + " " + a.health
	case 5:
		if a.running {
			g.finish(a, "Failed")
		}
		return "operation fails", ""
	case 6:
		if !a.running {
			g.begin(a, a.target)
			a.operation.dryRun, a.operation.partial = d.chance(500), d.chance(500)
		}
		return "dry run or partial sync", ""
	case 7:
		if targets := g.world.audit.targets(); !a.running && len(targets) > 0 && a.env != "dev" {
			g.begin(a, pick(d, targets))
		}
		return "foreign revision is synced", a.operation.target
	default:
		a.failed, a.synced, a.reconciled = true, "Unknown", g.now()
		return "comparison fails", ""
	}
}
