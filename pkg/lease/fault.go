package lease

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// task is something that a member does with the API server.
type task string

const (
	renewing task = "renew the member's own Lease"
	looking  task = "look at the Leases of the others"
	burying  task = "delete a Lease that nobody renews"
)

// fault is the kind of trouble that a task is in.
type fault int

const (
	none fault = iota
	failed
	forbidden
)

func faultOf(err error) fault {
	switch {
	case err == nil:
		return none
	case apierrors.IsForbidden(err):
		return forbidden
	}
	return failed
}

// hint is what to do about a right that lacks.
const hint = "allow verbs get, list, create, update, delete on leases.coordination.k8s.io in the Pod's namespace, as manifests/overlays/ha does"

// sharing is how the tasks go without which nothing is shared: the worst of them.
func (m *Members) sharing() fault { return max(m.trouble[renewing], m.trouble[looking]) }

// report keeps how a task goes, and logs when that changes: once for each time
// of trouble, not once for each try and task.
func (m *Members) report(ctx context.Context, t task, err error) {
	m.mu.Lock()
	before, sharedBefore := m.trouble[t], m.sharing()
	m.trouble[t] = faultOf(err)
	now, shared := m.trouble[t], m.sharing()
	m.mu.Unlock()
	log := m.config.Log.With("task", string(t), "error", err)
	switch {
	case t == burying && now > before:
		log.WarnContext(ctx, "Leases of members that are gone stay; that does no harm", "hint", hint)
	case shared == sharedBefore:
	case shared == none:
		m.config.Log.InfoContext(ctx, "the work is shared again")
	case shared == forbidden:
		log.WarnContext(ctx, "no right to share the work; this replica does all of it", "hint", hint)
	case shared == failed:
		log.WarnContext(ctx, "sharing the work is disturbed; a replica that hears nothing for long does all of it", "after", m.config.Lifetime)
	}
}
