package mirror

import (
	"errors"
	"fmt"
	"strings"
)

// The sides of a copy.
const (
	SideSource      = "source"
	SideDestination = "destination"
)

// Error is why an image could not be copied or is not complete. Err wraps one
// of the sentinels of package registry where one fits.
type Error struct {
	// Side is SideSource or SideDestination.
	Side string
	// Registry and Repository that failed.
	Registry, Repository string
	// Reference and digest of the image, as the caller knows it.
	Reference, Image string
	// Digest of the manifest or blob in question; the image's own when the
	// failure is not about a part of it.
	Digest string
	Err    error
}

// Error names the image, the side, and, unless Err does so, where and what.
func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Digest != "" && !strings.Contains(text, e.Digest) {
		text = e.Digest + ": " + text
	}
	if !strings.Contains(text, "registry "+e.Registry+": ") {
		text = fmt.Sprintf("registry %s: repository %s: %s", e.Registry, e.Repository, text)
	}
	image := e.Reference
	if !strings.Contains(image, e.Image) {
		image += " (" + e.Image + ")"
	}
	return fmt.Sprintf("image %s: %s: %s", strings.TrimSpace(image), e.Side, text)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// sourceError marks a failure to read the source on its way through a write to
// the destination.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// problem is an Error that does not know its image yet.
type problem struct {
	side, registry, repository, digest string
	err                                error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// fail gives an error the facts of the image it is about.
func (image Image) fail(dst string, err error) error {
	e := &Error{
		Side: SideDestination, Registry: dst, Repository: image.TargetRepo,
		Reference: image.Reference, Image: image.Digest, Digest: image.Digest, Err: err,
	}
	var p *problem
	if errors.As(err, &p) {
		e.Side, e.Registry, e.Repository, e.Digest, e.Err = p.side, p.registry, p.repository, p.digest, p.err
	}
	return e
}
