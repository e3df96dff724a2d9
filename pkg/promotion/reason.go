package promotion

import (
	"maps"
	"slices"
	"time"
)

// Reason names why something does not happen now. The names are stable: they
// appear in messages, metrics and documentation.
type Reason string

// The reasons.
const (
	EnvOnHold         Reason = "ENV_ON_HOLD"
	NotValidated      Reason = "NOT_VALIDATED"
	SoakNotReached    Reason = "SOAK_NOT_REACHED"
	ApprovalMissing   Reason = "APPROVAL_MISSING"
	ImageMissing      Reason = "IMAGE_MISSING"
	MirrorIncomplete  Reason = "MIRROR_INCOMPLETE"
	AlreadyThere      Reason = "ALREADY_THERE"
	HealthUnknown     Reason = "HEALTH_UNKNOWN"
	ManualPromotion   Reason = "MANUAL_PROMOTION"
	OlderThanCurrent  Reason = "OLDER_THAN_CURRENT"
	UnknownSnapshot   Reason = "UNKNOWN_SNAPSHOT"
	Rejected          Reason = "REJECTED"
	InvalidConfig     Reason = "CONFIG_INVALID"
	DamagedSnapshot   Reason = "SNAPSHOT_DAMAGED"
	LedgerUnavailable Reason = "LEDGER_UNREADABLE"
	TagExpected       Reason = "TAG_EXPECTED"
	TagNotVersion     Reason = "TAG_NOT_A_VERSION"
	TagNotOnBranch    Reason = "TAG_NOT_ON_BRANCH"
	TagOlder          Reason = "TAG_OLDER"
	TagDiffers        Reason = "TAG_DIFFERS"
	TagWithoutConfig  Reason = "TAG_WITHOUT_CONFIG"
	DigestMismatch    Reason = "DIGEST_MISMATCH"
	ImageNotPulled    Reason = "IMAGE_NOT_PULLED"
	SyncFailed        Reason = "SYNC_FAILED"
	EnvFrozen         Reason = "ENV_FROZEN"
	OutsideWindow     Reason = "OUTSIDE_WINDOW"
	ReleaseInProgress Reason = "RELEASE_IN_PROGRESS"
	NotTested         Reason = "NOT_TESTED"
	GateClosed        Reason = "GATE_CLOSED"
	GateUnknown       Reason = "GATE_UNKNOWN"
	SignatureMissing  Reason = "SIGNATURE_MISSING"
	Superseded        Reason = "SUPERSEDED"
	HotfixLost        Reason = "HOTFIX_WOULD_BE_LOST"
	BackMergeOwed     Reason = "HOTFIX_BACKMERGE_OWED"
	HotfixConflict    Reason = "HOTFIX_CONFLICT"
	HotfixUnusable    Reason = "HOTFIX_UNUSABLE"
	PullDeclined      Reason = "PULL_REQUEST_CLOSED"
	PullFailed        Reason = "PULL_REQUEST_NOT_OPENED"
	CaptureNotDue     Reason = "CAPTURE_NOT_DUE"
	QuietWindow       Reason = "QUIET_WINDOW"
	ManualCapture     Reason = "MANUAL_CAPTURE"
	RequestRefused    Reason = "REQUEST_REFUSED"
	RequestOvertaken  Reason = "REQUEST_OVERTAKEN"
	ImageNotInLock    Reason = "IMAGE_NOT_IN_LOCK"
	ForeignRegistry   Reason = "FOREIGN_REGISTRY"
)

// Help is one line for the person who reads the reason: what it means and what
// changes it.
func (r Reason) Help() string { return reasonHelp[r] }

var reasonHelp = map[Reason]string{
	EnvOnHold:         "automation leaves the environment alone after a rollback, or because somebody said so; go on with: propagator resume <environment> --reason ..., or promote a snapshot by hand",
	NotValidated:      "an environment before this one has not yet seen the snapshot synced and healthy",
	SoakNotReached:    "the snapshot has not been healthy long enough in the environment before; wait",
	ApprovalMissing:   "people have to agree: git tag -a approve/<environment>/<version>/<you> <version> && git push origin the tag",
	ImageMissing:      "an image does not exist where it has to be read from; build and push it, or correct the reference; one that a registry has lost comes back from another one with: propagator recover",
	MirrorIncomplete:  "not every image is complete in the environment's registry; the next run continues where this one stopped",
	AlreadyThere:      "the environment runs this snapshot already",
	HealthUnknown:     "not every Application is known to be synced to this revision and healthy; look at it in Argo CD",
	ManualPromotion:   "the environment is promoted by people: propagator promote <environment>",
	OlderThanCurrent:  "the snapshot is older than what the environment runs; go back with: propagator promote <environment> <version> --rollback --reason ...",
	UnknownSnapshot:   "there is no such snapshot; list them with: propagator snapshot list",
	Rejected:          "somebody rejected the snapshot, it failed its tests, or the environment was rolled back from it; if it shall come back, promote it by its version with --override REJECTED --reason ...; where only tests failed, say that they passed: propagator validate <environment> <version> --pass",
	InvalidConfig:     "propagator.yaml on the source branch cannot be used, so nothing new is captured; the newest snapshot's configuration stays in force until it is corrected",
	DamagedSnapshot:   "the tag does not name a snapshot that Propagator made, so nothing is promoted to it; if it is a mistake, delete the tag",
	LedgerUnavailable: "the environment's branch is not as Propagator left it, or gone, and nothing is done there until it is; what to type: propagator recover --dry-run; nobody but Propagator may write to it",
	TagExpected:       "commits are captured when a person sets a tag of this form: git tag <tag> <commit> && git push origin <tag>",
	TagNotVersion:     "the name of the tag has the form that is captured, but * does not stand for a version such as 1.5.0; it is left alone",
	TagNotOnBranch:    "only commits of the source branch are captured by themselves; merge first and set the tag there, or capture it by hand: propagator snapshot create --commit <tag>",
	TagOlder:          "the tag's version is below the newest snapshot's, or its commit is older than what is captured already, so it is not captured by itself; by hand: propagator snapshot create --commit <tag>",
	TagDiffers:        "the tag names another commit than the snapshot of its version, and a snapshot never changes; set a tag with a higher version on the commit that is meant",
	TagWithoutConfig:  "propagator.yaml in the tagged commit is missing or cannot be used, so there is nothing to capture; if the release is meant, set a tag with a higher version on a commit that has it",
	DigestMismatch:    "a Pod runs another digest than the snapshot has; find out who set it (kubectl get pod -o yaml), and delete the Pod",
	ImageNotPulled:    "a node cannot pull an image; check the cluster's pull Secret, and with: propagator mirror verify, that the registry has the image",
	EnvFrozen:         "nobody promotes to the environment until the freeze ends; earlier with: propagator resume <environment> --reason ... for one that somebody declared, or --override ENV_FROZEN --reason ... for one promotion",
	OutsideWindow:     "promotions begin inside the environment's windows only; wait, or promote with --override OUTSIDE_WINDOW --reason ...",
	ReleaseInProgress: "the environment keeps its release until that is in every environment after it; finish it, or reject it: propagator reject <environment> <version> --reason ...",
	NotTested:         "whoever tests has to say that the snapshot passed: propagator validate <environment> <version> --pass",
	GateClosed:        "a check outside of Propagator says no; see the detail for what it found",
	GateUnknown:       "a check could not be asked, or gave no usable answer, which never counts as a yes; see the detail, and the hook's log",
	SignatureMissing:  "an approval or an image has no signature of anybody who may sign; sign it, or add the signer",
	Superseded:        "something newer took the snapshot's place before it was proven there; wait for the newer one",
	HotfixLost:        "the environment has had a hotfix that the snapshot does not contain; bring it to the source branch, propagator hotfix finish <name>, or say where it went: propagator hotfix close <name> --reason ...; against that for one promotion: --override HOTFIX_WOULD_BE_LOST --reason ...",
	BackMergeOwed:     "a later environment runs a hotfix that is not here, so that what is tested here could not go there; bring it along: propagator hotfix finish <name>",
	HotfixConflict:    "the hotfix and the release have changed the same lines, so it is left out; merge by hand: git switch hotfix/<name>, git merge the release's tag, and push",
	HotfixUnusable:    "the branch cannot be composed as it is; the detail says what to type",
	PullDeclined:      "somebody closed the pull request that would bring the hotfix to the source branch, and the hotfix is still missing there; open it again, or say where it went: propagator hotfix close <name> --reason ...",
	PullFailed:        "the pull request that would bring the hotfix to the source branch could not be opened, and is tried again; the branch backmerge/<name> is there, so it can be opened by hand as well; see the detail for what to change",
	CaptureNotDue:     "commits are captured at scheduled times (source.schedule); wait, or take one now: propagator snapshot create",
	QuietWindow:       "commits are captured once the source branch has been quiet for a while (source.quiet); wait, or take one now: propagator snapshot create",
	ManualCapture:     "nothing is captured by itself (source.capture is manual); take a snapshot: propagator snapshot create",
	RequestRefused:    "the signed request is not carried out; see the detail for what is wrong with it, and ask again: propagator ... --request",
	RequestOvertaken:  "somebody put the environment on hold, froze it or rolled it back after the request was signed; if it is still meant, ask again",
	ImageNotInLock:    "the manifests name an image for which the snapshot has no digest, so nobody knows what was tested; do not use the snapshot, and take a new one: propagator snapshot create",
	ForeignRegistry:   "an image would be pulled from another registry than the environment's; find out which object has it, and take a new snapshot once that is corrected",
	SyncFailed:        "Argo CD could not apply the manifests; correct them on the source branch, or sync again in Argo CD",
}

// Reasons lists all of them, sorted.
func Reasons() []Reason { return slices.Sorted(maps.Keys(reasonHelp)) }

// Wait is something that is not done now, and why.
type Wait struct {
	Environment string `json:"environment"`
	Version     string `json:"version,omitempty"`
	Reason      Reason `json:"reason"`
	// Detail is specific: which Application, how long, who.
	Detail string `json:"detail,omitempty"`
	// Until is when it can be different at the earliest, as far as time alone
	// decides; zero otherwise.
	Until time.Time `json:"until,omitzero"`
	// Request is the name of the signed tag that waits; empty otherwise.
	Request string `json:"request,omitempty"`
}

func (w Wait) String() string {
	s := w.Environment
	if w.Version != "" {
		s += " " + w.Version
	}
	s += ": " + string(w.Reason)
	if w.Detail != "" {
		s += ": " + w.Detail
	}
	return s
}
