package config

import "time"

// Hotfixes says what is done about the branches hotfix/<name>.
type Hotfixes struct {
	// Compose is Auto: what people push to a hotfix branch becomes the next patch
	// of what its environment runs; or Manual: when somebody says so. Default:
	// auto.
	Compose PromoteMode
	// BackMerge is how a hotfix gets to the source branch once an environment has
	// proven it. Default: off.
	BackMerge BackMerge
	// WarnAfter is the age at which a hotfix that is not everywhere it must be is
	// warned about. Default: 72h.
	WarnAfter time.Duration
}

// BackMerge is how a hotfix gets to the source branch.
type BackMerge string

// The values of BackMerge.
const (
	// BackMergeOff: people merge it.
	BackMergeOff BackMerge = "off"
	// BackMergeBranch: a branch backmerge/<name> is pushed, for people to merge.
	BackMergeBranch BackMerge = "branch"
	// BackMergePullRequest: that branch is pushed, and a pull request (GitLab: merge
	// request) from it to the source branch is opened.
	BackMergePullRequest BackMerge = "pr"
	// BackMergePush: it is pushed to the source branch.
	BackMergePush BackMerge = "push"
)

// defaultWarnAfter leaves time for a weekend.
const defaultWarnAfter = 72 * time.Hour

func hotfixFields(d *decoder, h *Hotfixes) []field {
	return []field{
		optional("compose", oneOf(d, &h.Compose, Auto, Manual)),
		optional("backMerge", oneOf(d, &h.BackMerge, BackMergeOff, BackMergeBranch, BackMergePullRequest, BackMergePush)),
		optional("warnAfter", d.duration(&h.WarnAfter)),
	}
}

func (h *Hotfixes) fillDefaults() {
	setDefault(&h.Compose, Auto)
	setDefault(&h.BackMerge, BackMergeOff)
	setDefault(&h.WarnAfter, defaultWarnAfter)
}
