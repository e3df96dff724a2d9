package promotion

import (
	"fmt"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Application is what Argo CD reports about one Application: the fields of
// its spec and status that the success rule needs, and nothing that could be
// mistaken for proof.
type Application struct {
	Namespace string
	Name      string

	// Environment and Application are ours, from the labels that the
	// generator's Applications carry; empty for others (Dev).
	Environment string
	Application string

	// Of spec.source and spec.destination.
	RepoURL        string
	Path           string
	TargetRevision string
	Cluster        string
	Server         string
	DestNamespace  string

	// Of status.operationState: Phase is empty when nothing was ever synced.
	Phase      string
	FinishedAt time.Time
	// SyncedRevision is the commit that the last operation applied,
	// SyncedTarget the targetRevision it was asked for.
	SyncedRevision gitrepo.Hash
	SyncedTarget   string
	DryRun         bool
	// Partial: the operation was limited to some resources.
	Partial bool

	// Of status: the comparison of live and desired state.
	SyncStatus       string
	ComparedRevision gitrepo.Hash
	ReconciledAt     time.Time
	Health           string
	HealthSince      time.Time
}

// Expectation is what an Application has to show.
type Expectation struct {
	Revision gitrepo.Hash
	// Targets are the accepted spellings of targetRevision (tag, full ref,
	// commit id); empty accepts any.
	Targets []string
	// AnyOperation accepts an older operation as long as the comparison shows
	// the revision in place: in Dev a commit that does not touch an
	// application leads to no operation.
	AnyOperation bool
	// Settle is how long it must have been healthy.
	Settle time.Duration
}

// Deployed is the success rule: it reports whether an Application is proven to
// run what is expected, and if not, the first thing that is missing. Unknown
// is never success (I7).
func (a Application) Deployed(want Expectation, now time.Time) (ok bool, missing string) {
	missing = a.missing(want)
	if missing == "" && now.Before(a.settled(want)) {
		missing = fmt.Sprintf("has been healthy for less than %s", want.Settle)
	}
	return missing == "", missing
}

// settled is when an Application that stays healthy has been so long enough.
func (a Application) settled(want Expectation) time.Time {
	return later(a.FinishedAt, a.HealthSince).Add(want.Settle)
}

// missing names the first thing that keeps an Application from being proven,
// but for the settle time; empty when nothing does.
func (a Application) missing(want Expectation) string {
	accepted := func(target string) bool {
		if len(want.Targets) == 0 {
			return true
		}
		for _, t := range want.Targets {
			if t == target {
				return true
			}
		}
		return false
	}
	switch {
	case !accepted(a.TargetRevision):
		return fmt.Sprintf("points at %s", a.TargetRevision)
	case a.Phase == "":
		return "was never synced"
	case a.Phase != "Succeeded":
		return "last operation is " + a.Phase
	case a.FinishedAt.IsZero():
		return "last operation has no end"
	case a.DryRun:
		return "last operation was a dry run"
	case a.Partial:
		return "last operation synced only some resources"
	case !want.AnyOperation && a.SyncedRevision != want.Revision:
		return "last operation synced " + a.SyncedRevision.Short()
	case !want.AnyOperation && !accepted(a.SyncedTarget):
		return "last operation synced " + a.SyncedTarget
	case a.ComparedRevision != want.Revision:
		return "compared with " + orNothing(a.ComparedRevision)
	case a.SyncStatus != "Synced":
		return "is " + orUnknown(a.SyncStatus)
	case a.ReconciledAt.Before(a.FinishedAt):
		return "not reconciled since the operation finished"
	case a.Health != "Healthy":
		return "is " + orUnknown(a.Health)
	}
	return ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func orNothing(h gitrepo.Hash) string {
	if h == "" {
		return "nothing"
	}
	return h.Short()
}

func orUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}
