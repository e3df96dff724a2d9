package promotion

import (
	"context"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// PullRequests is the server that hosts the repository, as far as it has requests
// to merge one branch into another. It may be used concurrently.
type PullRequests interface {
	// Find returns the requests to merge a branch of the repository into another
	// one, in whatever state, newest first. Those made before since may be missing;
	// zero means all. None is no error.
	Find(ctx context.Context, from, into string, since time.Time) ([]PullRequest, error)
	// Create opens a request and returns it. Servers refuse a second open one of the
	// same branches, some with an answer that also means other things, so a
	// *HostError that is Refused is a reason to look again.
	Create(ctx context.Context, d PullRequestDraft) (PullRequest, error)
	// Page is the address at which a person opens a request in a browser.
	Page(from, into string) string
}

// PullRequestDraft is a request to open.
type PullRequestDraft struct {
	// From and Into are branches, without refs/heads/.
	From, Into string
	Title      string
	// Body is Markdown.
	Body string
}

// PullRequest is one that a server has.
type PullRequest struct {
	// URL for a browser.
	URL   string
	State PullRequestState
	// Head is the commit that it would merge, or the beginning of its id.
	Head gitrepo.Hash
	Body string
}

// PullRequestState is what has become of a request.
type PullRequestState string

// The states of a request.
const (
	// PullRequestOpen: it waits for people.
	PullRequestOpen PullRequestState = "open"
	// PullRequestMerged: it was merged.
	PullRequestMerged PullRequestState = "merged"
	// PullRequestClosed: somebody has closed it without merging.
	PullRequestClosed PullRequestState = "closed"
)

// HostError is why a server does not do what it was asked for. Its text holds no
// secret.
type HostError struct {
	Err error
	// Fix is what to type or to change about it; empty when only time helps.
	Fix string
	// Refused: the server is well and does not want this one request; others may
	// succeed.
	Refused bool
	// After is how long the server wants to be left alone; 0 when it does not say.
	After time.Duration
}

func (e *HostError) Error() string { return e.Err.Error() }

func (e *HostError) Unwrap() error { return e.Err }
