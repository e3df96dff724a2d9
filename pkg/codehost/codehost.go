// Package codehost opens pull requests on the servers that host Git repositories:
// GitHub, GitLab (where they are called merge requests), Gitea and Forgejo,
// Bitbucket Cloud and Bitbucket Data Center.
//
// A [Client] speaks to one repository on one server, and knows three things: the
// requests from one branch to another, how to open one, and where a person opens
// one in a browser. It decides nothing and keeps nothing.
//
// The configuration says which kind of server it is and where its API is; it is
// written by whoever may push to the source branch. Whose token is sent where is
// therefore not decided by it, see [Set].
package codehost

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Client is one repository on one server. It may be used concurrently.
type Client struct {
	place place
	http  *http.Client
	token Token
	kind  kind
}

var _ promotion.PullRequests = (*Client)(nil)

// kind is what differs between servers.
type kind interface {
	// authorize adds the token to a request.
	authorize(r *http.Request, token string)
	// rights are the least that a token needs, for people.
	rights() string
	// repository is the path of the repository, below the API.
	repository(p place) string
	// list is the path of the newest requests, or of one page of them.
	list(p place, from, into string) string
	// parse reads a page of them, and returns the path or URL of the next page;
	// empty after the last one.
	parse(p place, asked *url.URL, a *answer) (all []found, next string, err error)
	// draft is the path and the body that open a request.
	draft(p place, d promotion.PullRequestDraft) (path string, body any)
	// opened reads the answer to that.
	opened(a *answer) (found, error)
	// page is where a person opens one, below the server's own address.
	page(p place, from, into string) string
}

// found is a request with what tells whether it is meant.
type found struct {
	promotion.PullRequest
	// from and into are its branches; own: both are of the repository itself, not
	// of somebody's copy.
	from, into string
	own        bool
	created    time.Time
}

func kindOf(k config.HostKind) kind {
	switch k {
	case config.GitHub:
		return github{}
	case config.GitLab:
		return gitlab{}
	case config.Gitea:
		return gitea{}
	case config.Bitbucket:
		return bitbucket{}
	case config.BitbucketServer:
		return bitbucketServer{}
	}
	return nil
}

// maxPages bounds how many pages of requests are looked through. Servers that
// can be asked for a branch need one.
const maxPages = 40

// Find implements promotion.PullRequests.
func (c *Client) Find(ctx context.Context, from, into string, since time.Time) ([]promotion.PullRequest, error) {
	var meant []promotion.PullRequest
	next := c.kind.list(c.place, from, into)
	for range maxPages {
		a, err := c.ask(ctx, "look for pull requests", http.MethodGet, next, nil)
		if err != nil {
			return nil, err
		}
		all, following, err := c.kind.parse(c.place, a.url, a)
		if err != nil {
			return nil, c.malformed(a, err)
		}
		older := false
		for _, f := range all {
			older = older || !since.IsZero() && !f.created.IsZero() && f.created.Before(since)
			if f.own && f.from == from && f.into == into {
				meant = append(meant, f.PullRequest)
			}
		}
		if following == "" || older {
			return meant, nil
		}
		next = following
	}
	return nil, &promotion.HostError{Err: fmt.Errorf("%s has more than %d pages of pull requests, and none of %s among them", c.place.host(), maxPages, from), Fix: "open it by hand: " + c.Page(from, into)}
}

// Create implements promotion.PullRequests.
func (c *Client) Create(ctx context.Context, d promotion.PullRequestDraft) (promotion.PullRequest, error) {
	path, body := c.kind.draft(c.place, d)
	a, err := c.ask(ctx, "open a pull request", http.MethodPost, path, body)
	if err != nil {
		return promotion.PullRequest{}, err
	}
	opened, err := c.kind.opened(a)
	if err != nil {
		return promotion.PullRequest{}, c.malformed(a, err)
	}
	return opened.PullRequest, nil
}

// Page implements promotion.PullRequests.
func (c *Client) Page(from, into string) string {
	return c.place.web + c.kind.page(c.place, from, into)
}

// MayRead reads what the server says about the repository, which shows that the
// token is accepted and may see it. Whether it may open pull requests, only one
// that is opened tells.
func (c *Client) MayRead(ctx context.Context) error {
	_, err := c.ask(ctx, "read the repository", http.MethodGet, c.kind.repository(c.place), nil)
	return err
}

// Host is the name of the server of the API.
func (c *Client) Host() string { return c.place.host() }

// Rights are the least that a token needs on this kind of server, for people.
func (c *Client) Rights() string { return c.kind.rights() }

// state joins what servers say about a request.
func state(open, merged bool) promotion.PullRequestState {
	switch {
	case merged:
		return promotion.PullRequestMerged
	case open:
		return promotion.PullRequestOpen
	}
	return promotion.PullRequestClosed
}

// hash is an id, or the beginning of one, as a server writes it; empty when it is
// none.
func hash(s string) gitrepo.Hash {
	const fewest, most = 7, 64
	if len(s) < fewest || len(s) > most {
		return ""
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return gitrepo.Hash(s)
}

// String names the repository and keeps the token out of logs.
func (c *Client) String() string { return c.place.owner + "/" + c.place.name + " on " + c.place.host() }

// GoString keeps the token out of %#v.
func (c *Client) GoString() string { return c.String() }
