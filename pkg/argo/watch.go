package argo

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	// Between two watches: after one that served its time almost nothing, after
	// faults ever more. One that ends sooner than maxPause is a fault, whatever
	// it says: proxies and overloaded API servers end them in silence.
	minPause = time.Second
	maxPause = time.Minute
	// pauseWithoutRight is how often it is tried again whether there is a right
	// to watch.
	pauseWithoutRight = 5 * time.Minute
)

// Watch calls changed with the pipeline of every labelled Application that has
// changed in a way that a promotion could depend on, until the context ends. It
// only says when to look: [Client.List] asks the API server anew, and
// never what a watch has seen, so one that lags behind or breaks costs time and
// proves nothing wrong (I7). Without the right to watch, or when no watch lasts,
// it says so once, and the caller has its own interval.
//
// It does not return before the context ends. changed must not block.
func (c *Client) Watch(ctx context.Context, log *slog.Logger, changed func(pipeline string)) {
	seen := marks{}
	silenced := false
	pause := minPause
	for ctx.Err() == nil {
		began := c.now()
		shown, err := c.watchOnce(ctx, seen, changed)
		lasted := c.now().Sub(began) > maxPause
		if lasted {
			silenced, pause = false, minPause
		}
		wait := pause
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsForbidden(err):
			if !silenced {
				log.WarnContext(ctx, "Applications cannot be watched, looking at them once per interval and at every notification; allow verb watch on applications.argoproj.io", "error", err)
			}
			silenced, wait = true, pauseWithoutRight
		case err == nil && lasted:
			seen.keep(shown, changed)
		default:
			if pause == maxPause && !silenced {
				log.WarnContext(ctx, "no watch of Applications lasts, looking at them once per interval and at every notification; is there a proxy before the API server that ends idle connections?", "error", err)
				silenced = true
			}
			log.DebugContext(ctx, "watch of Applications ended", "error", err, "after", c.now().Sub(began))
			pause = min(2*pause, maxPause)
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
// is as it was seen last wakes nobody, what changed between two watches does. It
// returns which Applications were shown; an error unless the API server ended it.
func (c *Client) watchOnce(ctx context.Context, seen marks, changed func(string)) (shown map[string]bool, err error) {
	seconds := int64(watchFor / time.Second)
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	w, err := c.kube.Resource(applications).Namespace(c.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: LabelPipeline, TimeoutSeconds: &seconds})
	if err != nil {
		return nil, fmt.Errorf("watch Applications: %w", err)
	}
	defer w.Stop()
	shown = map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return shown, fmt.Errorf("watch Applications: %w", ctx.Err())
		case event, open := <-w.ResultChan():
			if !open {
				return shown, nil
			}
			if event.Type == watch.Error {
				return shown, fmt.Errorf("watch Applications: %w", apierrors.FromObject(event.Object))
			}
			object, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Bookmark {
				continue
			}
			c.see(object.GetResourceVersion())
			shown[keyOf(object)] = true
			seen.hear(event.Type, object, changed)
		}
	}
}

func keyOf(object *unstructured.Unstructured) string {
	return object.GetNamespace() + "/" + object.GetName()
}

// marks are what was seen last of each Application.
type marks map[string]mark

// hear tells the caller what an event means.
func (seen marks) hear(event watch.EventType, object *unstructured.Unstructured, changed func(pipeline string)) {
	key, pipeline := keyOf(object), object.GetLabels()[LabelPipeline]
	before, known := seen[key]
	if known && before.pipeline != pipeline {
		changed(before.pipeline)
	}
	if event == watch.Deleted {
		delete(seen, key)
		changed(pipeline)
		return
	}
	now, err := markOf(object)
	if err != nil {
		changed(pipeline) // the look that follows says what is wrong
		return
	}
	if now != before {
		seen[key] = now
		changed(pipeline)
	}
}

// keep drops all but those that a watch showed which began with all there are:
// the others went between two watches.
func (seen marks) keep(shown map[string]bool, changed func(pipeline string)) {
	for key, gone := range seen {
		if !shown[key] {
			delete(seen, key)
			changed(gone.pipeline)
		}
	}
}

// mark is what of an Application a promotion depends on. Nobody reads it, and there
// is one for each Application, so all but the pipeline is a checksum.
type mark struct {
	pipeline string
	rest     [sha256.Size]byte
}

func markOf(object *unstructured.Unstructured) (mark, error) {
	app, err := convert(object)
	if err != nil {
		return mark{}, err
	}
	a, ok := app.read()
	rest := struct {
		promotion.Application
		// Stale: not compared since the last operation. When it was compared last
		// does not matter otherwise, and changes every few minutes for nothing.
		Stale bool
		// Gone: it is left out of lists.
		Gone bool
	}{a, a.ReconciledAt.Before(a.FinishedAt), !ok}
	rest.ReconciledAt = time.Time{}
	// Resources come and go with a sync, which shows by itself.
	rest.Workloads = nil
	text, err := json.Marshal(rest)
	return mark{object.GetLabels()[LabelPipeline], sha256.Sum256(text)}, err
}
