package promotion

import (
	"context"
	"slices"
	"time"
)

// urgeKind is what Argo CD is asked for.
type urgeKind string

const (
	// poke: generate the pipeline's Applications anew.
	poke urgeKind = "poke"
	// refresh: compare an Application again.
	refresh urgeKind = "refresh"
	// terminate: give an operation up that would be tried again in vain.
	terminate urgeKind = "terminate"
)

// urge is something that Argo CD would come to by itself, after minutes or after
// an hour, and is asked to do now. Nothing depends on it but time.
type urge struct {
	kind urgeKind
	// environment that waits for it, and for which version.
	environment string
	version     string
	// application that it is about; none for a poke.
	application Application
	// first: nobody has asked for it yet.
	first bool
}

// key tells urges apart from look to look.
func (u urge) key() string {
	key := string(u.kind) + " " + u.environment + " " + u.version
	if u.kind != poke {
		key += " " + u.application.Namespace + "/" + u.application.Name
	}
	return key
}

// urges lists what Argo CD should be asked for. It is a pure function of the
// state.
//
//   - An Application that does not point at what the ledger names: somebody else
//     moved it (a person, another hook), or a poke got lost.
//   - One that points there and could not be rendered or compared. Argo CD tries
//     again once per refresh interval, and not for an hour once it has seen the
//     same error three times, whether or not the reason is gone.
//   - One that points there while Argo CD goes on trying to apply an older
//     version. It does not begin with the newer one before it has given up, which
//     takes minutes, and in the end no try can succeed: the tries are of the older
//     commit with the parameters of the newer version.
func urges(s *State) []urge {
	var all []urge
	for _, e := range s.Environments {
		if !e.ApplicationsKnown || e.Snapshot == nil || e.Unreadable != "" {
			continue
		}
		version, accepted := e.Snapshot.Lock.Version.String(), targetsOf(*e.Snapshot)
		behind := false
		for _, target := range e.Targets {
			i := slices.IndexFunc(e.Applications, func(a Application) bool {
				return matches(a, target) && slices.Contains(accepted, a.TargetRevision)
			})
			if i < 0 {
				behind = true
				continue
			}
			a := e.Applications[i]
			if a.RetryOf != "" && a.RetryOf != e.Snapshot.ID {
				all = append(all, urge{kind: terminate, environment: e.Name, version: version, application: a})
			}
			if a.CompareError {
				all = append(all, urge{kind: refresh, environment: e.Name, version: version, application: a})
			}
		}
		if behind {
			all = append(all, urge{kind: poke, environment: e.Name, version: version})
		}
	}
	return all
}

// pokesFor are the pokes that a step makes superfluous, since it pokes itself.
func pokesFor(step Step) []urge {
	var made []urge
	for _, environment := range step.moves() {
		made = append(made, urge{kind: poke, environment: environment, version: step.Version.String()})
	}
	return made
}

// The times between two urges for the same: the first is short because most
// troubles are, and the last is as long as trouble may outlive its reason.
const (
	leastUrgePause = 5 * time.Second
	mostUrgePause  = time.Minute
)

// urged is what is remembered of an urge: whether Argo CD was asked, and when it
// may be asked again.
type urged struct {
	asked  bool
	next   time.Time
	pauses int
}

// pause begins the next pause, which is twice as long as the one before.
func (u *urged) pause(now time.Time) {
	u.next = now.Add(min(mostUrgePause, leastUrgePause<<min(u.pauses, 10)))
	u.pauses++
}

// dueUrges picks those whose time has come, and notes that they are followed.
// What nobody needs any more is forgotten. next is when one of the others is
// due; zero when there is none.
func (m *memory) dueUrges(all []urge, now time.Time) (due []urge, next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	remembered := map[string]*urged{}
	for _, u := range all {
		key := u.key()
		past, known := m.urged[key]
		if !known {
			past = &urged{}
			if u.kind == refresh {
				past.pause(now) // it may be over by then
			}
		}
		remembered[key] = past
		if !now.Before(past.next) {
			u.first, past.asked = !past.asked, true
			past.pause(now)
			due = append(due, u)
		}
		if next.IsZero() || past.next.Before(next) {
			next = past.next
		}
	}
	m.urged = remembered
	return due, next
}

// noteUrges notes what Argo CD was asked for anyway.
func (m *memory) noteUrges(made []urge, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.urged == nil {
		m.urged = map[string]*urged{}
	}
	for _, u := range made {
		past := &urged{asked: true}
		past.pause(now)
		m.urged[u.key()] = past
	}
}

// urge asks Argo CD for what is due, and returns when it may have to be asked
// again. A failure costs time, not correctness.
func (e *Engine) urge(ctx context.Context, s *State) (next time.Time) {
	if e.Applications == nil {
		return time.Time{}
	}
	due, next := e.memory.dueUrges(urges(s), e.now())
	poked := false
	for _, u := range due {
		log := e.log().With("environment", u.environment, "version", u.version)
		var err error
		switch u.kind {
		case poke:
			if !poked { // one is for all environments
				e.poke(ctx, s)
			}
			poked = true
			continue
		case refresh:
			log.InfoContext(ctx, "Argo CD could not compare an Application and is asked to try again", "application", u.application.Name,
				"error", brief(u.application.Condition), "hard", u.application.ErrorCached)
			err = e.Applications.Refresh(ctx, u.application, u.application.ErrorCached)
		case terminate:
			log.InfoContext(ctx, "Argo CD goes on trying to sync what was replaced, and is asked to give up", "application", u.application.Name,
				"revision", u.application.RetryOf, "error", brief(u.application.Message))
			err = e.Applications.Terminate(ctx, u.application, u.application.RetryOf)
		}
		if err != nil && u.first {
			log.WarnContext(ctx, "Argo CD could not be asked; it will come to it by itself, later", "application", u.application.Name, "error", err)
		}
	}
	return next
}

// moves are the environments that a step lets point at another snapshot.
func (s Step) moves() []string {
	switch s.Kind {
	case Capture:
		return s.Into
	case Promote:
		return []string{s.Environment}
	}
	return nil
}
