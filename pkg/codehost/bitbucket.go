package codehost

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// bitbucket is the API 2.0 of Bitbucket Cloud:
// https://developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests/
type bitbucket struct{}

// authorize takes an access token, or a user's e-mail address and API token with
// a colon between them.
func (bitbucket) authorize(r *http.Request, token string) {
	if user, password, ok := strings.Cut(token, ":"); ok {
		r.SetBasicAuth(user, password)
		return
	}
	bearer(r, token)
}

func (bitbucket) rights() string {
	return "a repository access token with Pull requests: write; or e-mail:token with an API token that has the scopes read:repository:bitbucket and write:pullrequest:bitbucket"
}

func (bitbucket) repository(p place) string { return "/repositories/" + p.path() }

func (b bitbucket) list(p place, from, into string) string {
	return b.repository(p) + "/pullrequests?" + url.Values{
		"q":     {fmt.Sprintf("source.branch.name=%s AND destination.branch.name=%s", strconv.Quote(from), strconv.Quote(into))},
		"state": {"OPEN", "MERGED", "DECLINED", "SUPERSEDED"}, "sort": {"-created_on"}, "pagelen": {"50"},
	}.Encode()
}

type bitbucketPull struct {
	State       string       `json:"state"`
	Description string       `json:"description"`
	CreatedOn   time.Time    `json:"created_on"`
	Source      bitbucketEnd `json:"source"`
	Destination bitbucketEnd `json:"destination"`
	Links       struct {
		HTML struct {
			Href string `json:"href"`
		} `json:"html"`
	} `json:"links"`
}

// bitbucketEnd has the first digits of its commit only, and no repository when
// that was deleted.
type bitbucketEnd struct {
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
	Commit *struct {
		Hash string `json:"hash"`
	} `json:"commit"`
	Repository *struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

func (p bitbucketPull) found() found {
	f := found{
		PullRequest: promotion.PullRequest{URL: p.Links.HTML.Href, State: state(p.State == "OPEN", p.State == "MERGED"), Body: p.Description},
		from:        p.Source.Branch.Name, into: p.Destination.Branch.Name, created: p.CreatedOn,
		own: p.Source.Repository != nil && p.Destination.Repository != nil && p.Source.Repository.FullName == p.Destination.Repository.FullName,
	}
	if p.Source.Commit != nil {
		f.Head = hash(p.Source.Commit.Hash)
	}
	return f
}

func (bitbucket) parse(_ place, _ *url.URL, a *answer) ([]found, string, error) {
	var page struct {
		Values []bitbucketPull `json:"values"`
		Next   string          `json:"next"`
	}
	if err := a.decode(&page); err != nil {
		return nil, "", err
	}
	return each(page.Values, bitbucketPull.found), page.Next, nil
}

func (b bitbucket) draft(p place, d promotion.PullRequestDraft) (string, any) {
	branch := func(name string) map[string]any { return map[string]any{"branch": map[string]string{"name": name}} }
	return b.repository(p) + "/pullrequests", map[string]any{
		"title": d.Title, "description": d.Body, "source": branch(d.From), "destination": branch(d.Into), "close_source_branch": true,
	}
}

func (bitbucket) opened(a *answer) (found, error) {
	var pull bitbucketPull
	err := a.decode(&pull)
	return pull.found(), err
}

func (bitbucket) page(p place, from, into string) string {
	return "/" + p.path() + "/pull-requests/new?" + url.Values{"source": {from}, "dest": {into}}.Encode()
}
