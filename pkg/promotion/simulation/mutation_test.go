package simulation

import (
	"bytes"
	"regexp"
)

// mutation is a known fault of a port, at which the engine must seem to break a
// promise; it shows that the auditor would notice.
type mutation int

const (
	_ mutation = iota
	// pretendsToStore: Stage's registry answers that it has what it was sent, and
	// has not.
	pretendsToStore
	// forgetsOrder: Argo CD's comparisons seem to come after its operations.
	forgetsOrder
	// callsAllHealthy: Argo CD reports every Application as Healthy.
	callsAllHealthy
	// callsAllFull: partial operations and dry runs look like full ones.
	callsAllFull
	// ignoresOld: pushes replace whatever is there.
	ignoresOld
	// tornPush: a push is not atomic.
	tornPush
	// shortCut: what is read from Stage's registry comes from Dev's.
	shortCut
	// blindToHolds: ledgers are read as if no environment were on hold.
	blindToHolds
	// leaks: a secret is where the engine takes text for git from.
	leaks
)

// adjust makes the worlds in which a mutation can show.
func (m mutation) adjust(t *traits) {
	switch m {
	case ignoresOld:
		t.stageMode, t.replicas, t.tags = "manual", 3, false
	case forgetsOrder:
		t.settle, t.meddling = 0, true
	case callsAllHealthy, callsAllFull:
		t.settle = 0
	}
}

var holdTrailer = regexp.MustCompile(`(?m)^Propagator-Hold: .*\n`)

func withoutHold(commit []byte) []byte {
	if !bytes.Contains(commit, []byte("Propagator-Hold")) {
		return commit
	}
	return holdTrailer.ReplaceAll(commit, nil)
}
