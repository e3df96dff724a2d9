package argo

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Times of a watch.
const (
	// watchFor is how long one watch is asked to last: long enough to be cheap,
	// and a bound on how long a connection that nobody notices is dead deceives.
	watchFor = 5 * time.Minute
	// Between two watches: after one that ended in order almost nothing, after
	// faults ever more.
	minPause = time.Second
	maxPause = time.Minute
	// pauseWithoutRight is how often it is tried again whether there is a right
	// to watch.
	pauseWithoutRight = 5 * time.Minute
)

// Watch calls changed with the repository of every labelled Application that
// has changed in a way that a promotion could depend on, until the context
// ends. It only says when to look: [Client.List] reads the API server anew, and
// never what a watch has seen, so one that lags behind or breaks costs time and
// proves nothing wrong (I7). Without the right to watch it says so once, and
// the caller has its own interval.
//
// It does not return before the context ends. changed must not block.
func (c *Client) Watch(ctx context.Context, log *slog.Logger, changed func(repository string)) {
	seen := map[string]mark{}
	silenced := false
	pause := minPause
	for ctx.Err() == nil {
		began := c.now()
		err := c.watchOnce(ctx, seen, changed)
		wait := minPause
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsForbidden(err):
			if !silenced {
				log.WarnContext(ctx, "Applications cannot be watched, looking at them once per interval and at every notification; allow verb watch on applications.argoproj.io", "error", err)
			}
			silenced, wait = true, pauseWithoutRight
		case err != nil:
			log.DebugContext(ctx, "watch of Applications ended", "error", err)
			if c.now().Sub(began) > maxPause {
				pause = minPause
			}
			wait, pause = pause, min(2*pause, maxPause)
		default:
			silenced, pause = false, minPause
		}
		wait += rand.N(wait / 10) //nolint:gosec // jitter, not a secret
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// watchOnce opens one watch. It begins with all Applications as they are: what
// is as it was seen last wakes nobody, what changed between two watches does.
func (c *Client) watchOnce(ctx context.Context, seen map[string]mark, changed func(string)) error {
	seconds := int64(watchFor / time.Second)
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	w, err := c.kube.Resource(applications).Namespace(c.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: LabelPipeline, TimeoutSeconds: &seconds})
	if err != nil {
		return fmt.Errorf("watch Applications: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch Applications: %w", ctx.Err())
		case event, open := <-w.ResultChan():
			if !open {
				return nil // at the end of the time that was asked for
			}
			if event.Type == watch.Error {
				return fmt.Errorf("watch Applications: %w", apierrors.FromObject(event.Object))
			}
			heard(event, seen, changed)
		}
	}
}

// heard tells the caller what an event means.
func heard(event watch.Event, seen map[string]mark, changed func(string)) {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == watch.Bookmark {
		return
	}
	key := object.GetNamespace() + "/" + object.GetName()
	if event.Type == watch.Deleted {
		changed(seen[key].application.RepoURL)
		delete(seen, key)
		return
	}
	now, err := markOf(object)
	if err != nil {
		changed("") // the look that follows says what is wrong
		return
	}
	if before, known := seen[key]; !known || !now.equals(before) {
		seen[key] = now
		changed(now.application.RepoURL)
	}
}

// mark is what of an Application a promotion depends on.
type mark struct {
	application promotion.Application
	// stale: not compared since the last operation. When it was compared last
	// does not matter otherwise, and changes every few minutes for nothing.
	stale bool
	// gone: it is left out of lists.
	gone bool
}

func markOf(object *unstructured.Unstructured) (mark, error) {
	raw, err := object.MarshalJSON()
	if err != nil {
		return mark{}, err
	}
	a, ok, err := decode(raw)
	if err != nil {
		return mark{}, err
	}
	m := mark{application: a, stale: a.ReconciledAt.Before(a.FinishedAt), gone: !ok}
	m.application.ReconciledAt = time.Time{}
	// Resources come and go with a sync, which shows by itself.
	m.application.Workloads = nil
	return m, nil
}

func (m mark) equals(other mark) bool { return reflect.DeepEqual(m, other) }
