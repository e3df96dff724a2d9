package promotion

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
	// Partial: somebody limited the operation to some resources. It is false
	// where Argo CD did so to heal drift after a full operation.
	Partial bool

	// RetryOf is the commit that an automated operation has failed to apply and
	// waits to apply again; empty when none does.
	RetryOf gitrepo.Hash

	// Of status: the comparison of live and desired state.
	SyncStatus       string
	ComparedRevision gitrepo.Hash
	ReconciledAt     time.Time
	Health           string
	HealthSince      time.Time

	// CompareError: the last comparison failed, most often because nothing could
	// be rendered. ErrorCached: Argo CD repeats the error from its cache.
	CompareError bool
	ErrorCached  bool

	// What Argo CD says in words: operationState.message, the message of the
	// first resource that is not healthy, and the first condition that is an
	// error, with its type. They are for people and prove nothing.
	Message       string
	HealthMessage string
	Condition     string

	// Workloads are the managed resources that Pods may belong to, of
	// status.resources.
	Workloads []Workload
	// Live is what the Pods show. Set by the engine; nil when nobody looked.
	Live *Sight
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
	// Settle is how long it must have been healthy, beyond the [precision] of the
	// times that Argo CD notes; zero asks for neither, and for no clock.
	Settle time.Duration
}

// precision is what Argo CD's times are cut to: what bears a time happened at
// any moment of the second that begins then.
const precision = time.Second

// Deployed is the success rule: it reports whether an Application is proven to
// run what is expected, and if not, the first thing that is missing. Unknown
// is never success (I7).
func (a Application) Deployed(want Expectation, now time.Time) (ok bool, missing string) {
	f := a.fault(want, now)
	return f.text == "", f.text
}

// fault is what keeps an Application from being proven; zero when nothing does.
type fault struct {
	reason Reason
	text   string
	// until is when time alone will have changed it; zero otherwise.
	until time.Time
	// failed: it will not come right by itself.
	failed bool
}

func (a Application) fault(want Expectation, now time.Time) fault {
	f := a.missing(want)
	if settled := a.settled(want); f.text == "" && want.Settle > 0 && now.Before(settled) {
		return fault{reason: HealthUnknown, text: fmt.Sprintf("has been healthy for less than %s", want.Settle), until: settled}
	}
	return f
}

// settled is when an Application that stays healthy has been so long enough,
// however late in their seconds its last operation ended and it became healthy.
func (a Application) settled(want Expectation) time.Time {
	return later(a.FinishedAt, a.HealthSince).Add(precision + want.Settle)
}

// missing is the fault but for the settle time. What Argo CD itself says about
// it comes behind, in its own words.
func (a Application) missing(want Expectation) fault {
	accepted := func(target string) bool { return len(want.Targets) == 0 || slices.Contains(want.Targets, target) }
	unknown := func(text string, words ...string) fault {
		return fault{reason: cmp.Or(a.renderFault(), HealthUnknown), text: text + said(words...)}
	}
	switch {
	case !accepted(a.TargetRevision):
		return unknown("points at " + a.TargetRevision)
	case a.Phase == "":
		return unknown("was never synced", a.Condition)
	case a.Phase == "Failed" || a.Phase == "Error":
		return fault{reason: SyncFailed, failed: true, text: "last operation is " + a.Phase + said(a.Message, a.Condition)}
	case a.Phase != "Succeeded" && a.Live.notPulled() != "":
		return fault{reason: ImageNotPulled, failed: true, text: "cannot start: " + a.Live.notPulled()}
	case a.Phase != "Succeeded":
		return unknown("last operation is "+a.Phase, a.Message)
	case a.FinishedAt.IsZero():
		return unknown("last operation has no end")
	case a.DryRun:
		return unknown("last operation was a dry run")
	case a.Partial:
		return unknown("last operation synced only some resources")
	case !want.AnyOperation && a.SyncedRevision != want.Revision:
		return unknown("last operation synced "+a.SyncedRevision.Short(), a.Condition)
	case !want.AnyOperation && !accepted(a.SyncedTarget):
		return unknown("last operation synced "+a.SyncedTarget, a.Condition)
	case a.ComparedRevision != want.Revision:
		return unknown("compared with "+orNothing(a.ComparedRevision), a.Condition)
	case a.SyncStatus != "Synced":
		return unknown("is "+orUnknown(a.SyncStatus), a.Condition)
	case a.ReconciledAt.Before(a.FinishedAt):
		return unknown("not reconciled since the operation finished")
	case a.Health != "Healthy" && a.Live.notPulled() != "":
		return fault{reason: ImageNotPulled, failed: true, text: "is " + orUnknown(a.Health) + ": " + a.Live.notPulled()}
	case a.Health != "Healthy":
		f := unknown("is "+orUnknown(a.Health), a.HealthMessage, a.Live.trouble(), a.Condition)
		f.failed = a.Health == "Degraded"
		return f
	}
	return a.Live.fault()
}

// renderFault names why the sidecar does not render what the Application points
// at, as far as Argo CD repeats it; empty when it does not.
func (a Application) renderFault() Reason {
	if !strings.HasPrefix(a.Condition, "ComparisonError") {
		return ""
	}
	return reasonIn(a.Condition)
}

// unwell reports whether the Pods may tell more about what Argo CD says.
func (a Application) unwell() bool {
	return a.Phase != "" && (a.Phase != "Succeeded" || a.Health != "Healthy")
}

// local reports whether the Application's destination is the cluster that Argo
// CD runs in. Argo CD names it "in-cluster" and knows it by this address.
func (a Application) local() bool {
	return a.Cluster == "in-cluster" || a.Server == "https://kubernetes.default.svc"
}

// said is what somebody else says, the first who says anything; behind a colon,
// so that an empty one leaves no trace.
func said(words ...string) string {
	for _, text := range words {
		if text = brief(text); text != "" {
			return ": " + text
		}
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
	switch {
	case h == "":
		return "nothing"
	case !h.Valid(): // Argo CD names the tag when it did not get as far as its commit
		return brief(string(h))
	}
	return h.Short()
}

func orUnknown(s string) string {
	if s == "" {
		return "Unknown"
	}
	return s
}
