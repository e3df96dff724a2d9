package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	leases "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// NamePrefix is what the names of all members' Leases begin with; the identity
// follows.
const NamePrefix = "propagator-hook-"

// LabelGroup is the label with the group of a member's Lease.
const LabelGroup = "propagator.dev/group"

// The label of everything that is ours.
const (
	labelPartOf = "app.kubernetes.io/part-of"
	partOf      = "propagator"
)

// DefaultLifetime is how long a member that is not heard of counts as alive.
const DefaultLifetime = 30 * time.Second

const (
	// renewals is how often a Lease is renewed, and looked at, in a Lifetime: two
	// in a row may be lost.
	renewals = 3
	// stale is after how many Lifetimes somebody else deletes a Lease. Much later
	// than its member counts as dead, so that none is deleted for a slow network.
	stale = 10
	// maxMembers bounds what is read and kept. Everybody sees the same first ones,
	// and itself, so beyond them keys have an owner too.
	maxMembers = 500
	// leaveWithin bounds how long the end of a program may wait for the API server.
	leaveWithin = 3 * time.Second
)

// Bound is for how long after a member went a key may be without an owner.
func Bound(lifetime time.Duration) time.Duration { return lifetime + lifetime/renewals }

// Config describes a member.
type Config struct {
	// Leases of the namespace that the group is in. Required.
	Leases leases.LeaseInterface
	// Identity is the member's name, usually its Pod's. No two members may have the
	// same: one that does works on the same keys. Required.
	Identity string
	// Group tells who shares: those who can do the same work, all of it. It is a
	// label's value. Required.
	Group string
	// Lifetime is the same for the whole group. Default: [DefaultLifetime].
	Lifetime time.Duration
	// Log is optional.
	Log *slog.Logger
}

// Members are a group, as one of them sees it. It is safe for concurrent use.
type Members struct {
	config Config
	period time.Duration
	// now is what is written into the Lease, for people who read it.
	now func() time.Time
	// heard wakes the one who tells about changes; it holds at most one.
	heard chan struct{}
	// held is the Lease as it was written last; nil when that is not known. It
	// belongs to renew.
	held *coordinationv1.Lease

	mu     sync.Mutex // guards the fields below
	others map[string]sight
	// looked is when the newest look began that got an answer, and whole whether
	// it showed all Leases; false before the first.
	looked  time.Time
	whole   bool
	trouble map[task]fault
}

// sight is what was last seen of another member.
type sight struct {
	version string // of the Lease, by which a change is seen
	group   string
	since   time.Time // when the version was seen first
	until   time.Time // when it counts as dead; zero for one that was never seen to change
}

// New makes a member that does not take part yet: until [Members.Run] it owns
// everything.
func New(c Config) (*Members, error) {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if c.Leases == nil {
		errs = append(errs, errors.New("no client for Leases"))
	}
	if c.Identity == "" {
		errs = append(errs, errors.New("a member needs a name"))
	} else if faults := validation.IsDNS1123Subdomain(NamePrefix + c.Identity); len(faults) > 0 {
		errs = append(errs, fmt.Errorf("%q cannot be a member's name, because %q cannot be a Lease's: %s", c.Identity, NamePrefix+c.Identity, strings.Join(faults, "; ")))
	}
	if faults := validation.IsValidLabelValue(c.Group); len(faults) > 0 || c.Group == "" {
		errs = append(errs, fmt.Errorf("%q cannot be a group's name: %s", c.Group, strings.Join(append(faults, "write a label's value"), "; ")))
	}
	if c.Lifetime < time.Second {
		errs = append(errs, fmt.Errorf("the lifetime is %s; it must be a second at least", c.Lifetime))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Members{
		config: c, period: c.Lifetime / renewals, now: time.Now, heard: make(chan struct{}, 1),
		others: map[string]sight{}, trouble: map[task]fault{},
	}, nil
}

// Owns reports whether a key is this member's.
func (m *Members) Owns(key string) bool {
	_, own := m.Owner(key)
	return own
}

// Owner names the member that owns a key, as far as this one sees, and says
// whether it is this one. It asks nobody.
func (m *Members) Owner(key string) (identity string, own bool) {
	identity = m.config.Identity
	alive, _ := m.alive()
	for _, other := range alive {
		if outranks(other, identity, key) {
			identity = other
		}
	}
	return identity, identity == m.config.Identity
}

// alive are the live members, sorted, this one among them, and how long that
// stays so if nothing more is heard; zero: for ever.
func (m *Members) alive() (identities []string, lasts time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	identities = []string{m.config.Identity}
	if m.sharing() == forbidden {
		return identities, 0
	}
	for identity, s := range m.others {
		left := time.Until(s.until)
		if s.group != m.config.Group || left <= 0 {
			continue
		}
		identities = append(identities, identity)
		if lasts == 0 || left < lasts {
			lasts = left
		}
	}
	slices.Sort(identities)
	return identities, lasts
}

// Run takes part until the context ends, and then says goodbye, so that the
// others need not wait for a Lifetime. It calls changed, which must not block,
// when keys may have changed their owner. It must be called once.
func (m *Members) Run(ctx context.Context, changed func()) {
	var loops sync.WaitGroup
	loops.Go(func() { m.every(ctx, renewing, m.renew) })
	loops.Go(func() { m.every(ctx, looking, m.look) })
	loops.Go(func() { m.tell(ctx, changed) })
	loops.Wait()
	m.leave(ctx)
}

// every does a task each period. One does not wait for the other: an API server
// that is slow to write does not make this member blind.
func (m *Members) every(ctx context.Context, t task, do func(context.Context) error) {
	ticker := time.NewTicker(m.period)
	defer ticker.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, m.period)
		err := do(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		m.report(ctx, t, err)
		m.wake()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *Members) wake() {
	select {
	case m.heard <- struct{}{}:
	default:
	}
}

// tell calls changed when other members are alive than before.
func (m *Members) tell(ctx context.Context, changed func()) {
	told := []string{m.config.Identity}
	timer := time.NewTimer(m.config.Lifetime)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.heard:
		case <-timer.C:
		}
		alive, lasts := m.alive()
		if !slices.Equal(alive, told) {
			m.config.Log.InfoContext(ctx, "members that share the work", "alive", alive, "before", told)
			told = alive
			changed()
		}
		if lasts == 0 {
			lasts = m.config.Lifetime // a look comes before
		}
		timer.Reset(lasts)
	}
}
