package promotion

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// failures are the steps that did not work in one run.
type failures struct {
	errors map[string]error
	steps  map[string]Step
	// stuck is the lowest version of a tag whose capture failed and may succeed
	// next time; zero when there is none.
	stuck snapshot.Version
}

// key tells steps apart. A tag that was moved asks for another capture of the
// same version, and several requests may be for the same.
func (s Step) key() string {
	return s.String() + " " + string(s.Commit) + " " + string(s.Request.ID)
}

func (f *failures) add(step Step, err error) {
	f.errors[step.key()], f.steps[step.key()] = err, step
	if step.Kind == Capture && step.Tag != "" && !definite(err) && (f.stuck.IsZero() || step.Version.Compare(f.stuck) < 0) {
		f.stuck = step.Version
	}
}

// next is the first step that has not failed in this run. After a tag that is
// stuck nothing with a higher version is captured: it would become the newest
// snapshot, and the tag would be older than that for good.
func (f *failures) next(d Decision) (Step, bool) {
	for _, step := range d.Steps {
		held := step.Kind == Capture && !f.stuck.IsZero() && step.Version.Compare(f.stuck) > 0
		if !held && f.errors[step.key()] == nil {
			return step, true
		}
	}
	return Step{}, false
}

// wait names what a step failed of, where there is a reason for it; false for
// the others. A capture is of the first environment.
func (f *failures) wait(key, first string) (Wait, bool) {
	err, step := f.errors[key], f.steps[key]
	var no *RefusedError
	if errors.As(err, &no) {
		return no.Wait, true
	}
	var (
		missing *MissingImageError
		copied  *mirror.Error
		reason  Reason
		detail  = err
	)
	switch {
	case errors.As(err, &missing) && errors.Is(missing.Err, registry.ErrNotFound):
		reason, detail = ImageMissing, missing
	case errors.As(err, &copied) && copied.Side == mirror.SideSource && errors.Is(copied, registry.ErrNotFound):
		reason, detail = ImageMissing, copied
	case errors.As(err, &copied):
		reason, detail = MirrorIncomplete, copied
	default:
		reason = reasonIn(err.Error())
	}
	text := strings.TrimPrefix(detail.Error(), string(reason)+": ")
	return Wait{Environment: cmp.Or(step.Environment, first), Version: step.Version.String(), Reason: reason, Detail: brief(text)}, reason != ""
}

// definite reports whether a capture failed because of what the commit says, so
// that it would fail again. Of several causes each must be such a one.
func definite(err error) bool {
	switch e := err.(type) { //nolint:errorlint // walks the chain itself, because every branch of it counts
	case *Error:
		return e.Side == sideConfig || e.Side == sideRender || definite(e.Err)
	case *MissingImageError:
		return errors.Is(e.Err, registry.ErrNotFound)
	case *mirror.Error:
		// What the destination lacks can be put there.
		return e.Side == mirror.SideSource && errors.Is(e.Err, registry.ErrNotFound)
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(one error) bool { return !definite(one) })
	}
	inner := errors.Unwrap(err)
	return inner != nil && definite(inner)
}
