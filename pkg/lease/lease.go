package lease

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// name is the Lease's.
func (m *Members) name() string { return NamePrefix + m.config.Identity }

// renew writes the member's own Lease, and makes it when there is none. A Lease
// that somebody else has changed or deleted meanwhile is read anew.
func (m *Members) renew(ctx context.Context) error {
	if m.held != nil {
		renewed, err := m.config.Leases.Update(ctx, m.renewed(m.held), metav1.UpdateOptions{})
		if err == nil {
			m.held = renewed
			return nil
		}
		m.held = nil
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("update Lease %s: %w", m.name(), err)
		}
	}
	found, err := m.config.Leases.Get(ctx, m.name(), metav1.GetOptions{})
	var written *coordinationv1.Lease
	switch {
	case err == nil:
		written, err = m.config.Leases.Update(ctx, m.renewed(found), metav1.UpdateOptions{})
	case apierrors.IsNotFound(err):
		written, err = m.config.Leases.Create(ctx, m.renewed(&coordinationv1.Lease{}), metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renew Lease %s: %w", m.name(), err)
	}
	m.held = written
	return nil
}

// renewed is a Lease as this member writes it. What others have added is kept.
func (m *Members) renewed(lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease = lease.DeepCopy()
	lease.Name = m.name()
	if lease.Labels == nil {
		lease.Labels = map[string]string{}
	}
	lease.Labels[labelPartOf], lease.Labels[LabelGroup] = partOf, m.config.Group
	now := metav1.NewMicroTime(m.now())
	seconds := int32(min(math.Ceil(m.config.Lifetime.Seconds()), math.MaxInt32))
	if lease.Spec.AcquireTime == nil {
		lease.Spec.AcquireTime = &now
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &m.config.Identity, &seconds, &now
	return lease
}

// look reads the Leases of all groups: those of others have to be cleared away
// too, because a group whose work has changed does not come back.
func (m *Members) look(ctx context.Context) error {
	// Times count from before they were asked for: a slow answer must not make
	// anybody live longer.
	asked := time.Now()
	list, err := m.config.Leases.List(ctx, metav1.ListOptions{LabelSelector: labelPartOf + "=" + partOf + "," + LabelGroup, Limit: maxMembers})
	if err != nil {
		return fmt.Errorf("list Leases: %w", err)
	}
	items := list.Items[:min(len(list.Items), maxMembers)] // what does not page
	whole := list.Continue == "" && len(items) == len(list.Items)
	seen := make(map[string]sight, len(items))
	var dead []*coordinationv1.Lease
	m.mu.Lock()
	// A change proves that its member was alive some time after the look before.
	// When that was long ago, or there was none, it proves little.
	proven := m.looked.Add(min(m.period, asked.Sub(m.looked)) + m.config.Lifetime)
	for i := range items {
		lease := &items[i]
		identity, ours := strings.CutPrefix(lease.Name, NamePrefix)
		if !ours || identity == "" || identity == m.config.Identity {
			continue
		}
		now := sight{version: versionOf(lease), group: lease.Labels[LabelGroup], since: asked}
		switch before, known := m.others[identity]; {
		case known && before.version == now.version:
			now.since, now.until = before.since, before.until
		case known || m.whole: // else it may have been there for long
			now.until = proven
		}
		seen[identity] = now
		if asked.Sub(now.since) >= stale*m.config.Lifetime {
			dead = append(dead, lease)
		}
	}
	m.others, m.looked, m.whole = seen, asked, whole
	m.mu.Unlock()
	for _, lease := range dead {
		if ctx.Err() != nil {
			break // the next look goes on
		}
		m.bury(ctx, lease)
	}
	return nil
}

// versionOf changes with each renewal, whatever the clock of the member says.
func versionOf(lease *coordinationv1.Lease) string {
	version := string(lease.UID) + " " + lease.ResourceVersion
	if lease.Spec.RenewTime != nil {
		version += " " + lease.Spec.RenewTime.UTC().String()
	}
	return version
}

// bury deletes the Lease of a member that was killed, exactly as it was seen: one
// that has just been renewed stays.
func (m *Members) bury(ctx context.Context, lease *coordinationv1.Lease) {
	err := m.config.Leases.Delete(ctx, lease.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
	switch {
	case err == nil:
		m.config.Log.InfoContext(ctx, "Lease of a member that is gone deleted", "lease", lease.Name)
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // another one did, or it is alive
		err = nil
	default:
		err = fmt.Errorf("delete Lease %s: %w", lease.Name, err)
	}
	m.report(ctx, burying, err)
}

// leave deletes the member's own Lease. The context has ended.
func (m *Members) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	err := m.config.Leases.Delete(ctx, m.name(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) { // of a right that lacks was told
		m.config.Log.WarnContext(ctx, "the Lease cannot be deleted; the others take over when it is not renewed", "lease", m.name(), "after", m.config.Lifetime, "error", err)
	}
}
