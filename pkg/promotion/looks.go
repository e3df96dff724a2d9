package promotion

import (
	"context"
	"time"
)

// Looks lets some pipelines of many look at a time, in the order in which they
// ask: a process that looks after a thousand begins with all of them at once, and
// would otherwise need the memory of all, and keep everything else in it waiting.
// What a look leads to, such as copying images, takes no turn.
//
// It is a courtesy and never decides: a git host that does not answer may hold
// all turns, and pipelines on other hosts then go on without. A nil Looks has no
// bound.
type Looks struct{ turns chan struct{} }

// maxTurn is how long a pipeline waits for its turn. It is less than the usual
// time between two looks, and a thousand pipelines are through in that time.
const maxTurn = 30 * time.Second

// NewLooks lets n pipelines look at a time.
func NewLooks(n int) *Looks { return &Looks{turns: make(chan struct{}, n)} }

// begin waits for a turn; end gives it back. The error is the context's.
func (l *Looks) begin(ctx context.Context) (end func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	select {
	case l.turns <- struct{}{}:
		return l.end, nil
	default:
	}
	timer := time.NewTimer(maxTurn)
	defer timer.Stop()
	select {
	case l.turns <- struct{}{}:
		return l.end, nil
	case <-timer.C:
		return func() {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *Looks) end() { <-l.turns }
