package changes

import (
	"time"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Deployment is what the ledger of one environment says about a snapshot.
type Deployment struct {
	Environment string `json:"environment"`
	// Current: the environment points at it now.
	Current bool `json:"current"`
	// Promotions are the times at which it was sent there, oldest first; usually
	// one.
	Promotions []Promotion `json:"promotions"`
	// HealthyAt is when it was first seen synced and healthy; zero: not yet.
	HealthyAt time.Time `json:"healthyAt,omitzero"`
	// Findings are what people and CI said about it there, oldest first.
	Findings []Finding `json:"findings"`
}

// Promotion is one entry that made an environment point at a snapshot.
type Promotion struct {
	When time.Time `json:"when"`
	// Rollback: it came back there from a newer one.
	Rollback   bool      `json:"rollback,omitempty"`
	By         string    `json:"by,omitempty"`
	From       string    `json:"from,omitempty"`
	Gates      []Verdict `json:"gates"`
	ApprovedBy []string  `json:"approvedBy"`
	// Reason why a rule was overridden, or why it was rolled back.
	Reason string `json:"reason,omitempty"`
}

// Verdict is a gate's answer at the time.
type Verdict struct {
	Gate   string `json:"gate"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// Finding is a validation, or a rejection.
type Finding struct {
	When time.Time `json:"when"`
	// Result is pass, fail or rejected.
	Result string `json:"result"`
	By     string `json:"by,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// The results of a Finding.
const (
	Passed   = "pass"
	Failed   = "fail"
	Rejected = "rejected"
)

// DeploymentOf reads a ledger, newest entry first. It reports false when the
// ledger says nothing about the snapshot.
func DeploymentOf(environment string, history []snapshot.Entry, version snapshot.Version) (Deployment, bool) {
	d := Deployment{Environment: environment, Promotions: []Promotion{}, Findings: []Finding{}}
	d.Current = len(history) > 0 && history[0].Snapshot == version
	for i := len(history) - 1; i >= 0; i-- {
		e := history[i]
		switch {
		case e.Event.Moves() && e.Snapshot == version:
			p := Promotion{
				When: e.When.UTC(), Rollback: e.Event == snapshot.EventRollback, By: e.Actor, From: e.From.String(),
				Gates: []Verdict{}, ApprovedBy: append([]string{}, e.ApprovedBy...), Reason: e.Override,
			}
			for _, gate := range e.Gates {
				p.Gates = append(p.Gates, Verdict(gate))
			}
			d.Promotions = append(d.Promotions, p)
		case e.Event == snapshot.EventDeployed && e.Snapshot == version && d.HealthyAt.IsZero():
			d.HealthyAt = e.Deployed.UTC()
		case e.Event == snapshot.EventReject && e.About == version:
			d.Findings = append(d.Findings, Finding{When: e.When.UTC(), Result: Rejected, By: e.Actor, Detail: e.Override})
		case e.Event == snapshot.EventValidate && e.About == version && len(e.Gates) > 0:
			f := Finding{When: e.When.UTC(), Result: Failed, By: e.Actor, Detail: e.Gates[0].Detail}
			if e.Gates[0].Result == "pass" {
				f.Result = Passed
			}
			d.Findings = append(d.Findings, f)
		}
	}
	return d, len(d.Promotions) > 0 || !d.HealthyAt.IsZero() || len(d.Findings) > 0
}
