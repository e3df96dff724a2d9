package codehost

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// bitbucketServer is the API 1.0 of Bitbucket Data Center:
// https://developer.atlassian.com/server/bitbucket/rest/
type bitbucketServer struct{}

func (bitbucketServer) authorize(r *http.Request, token string) { bearer(r, token) }

func (bitbucketServer) rights() string {
	return "an HTTP access token of the repository with Repository read"
}

func (bitbucketServer) repository(p place) string {
	return "/projects/" + url.PathEscape(p.owner) + "/repos/" + url.PathEscape(p.name)
}

const heads = "refs/heads/"

func (b bitbucketServer) list(p place, from, _ string) string {
	return b.repository(p) + "/pull-requests?" + url.Values{
		"at": {heads + from}, "direction": {"OUTGOING"}, "state": {"ALL"}, "order": {"NEWEST"}, "limit": {"100"}, "start": {"0"},
	}.Encode()
}

type bitbucketServerPull struct {
	State       string             `json:"state"` // OPEN, MERGED, DECLINED
	Description string             `json:"description"`
	CreatedDate int64              `json:"createdDate"` // in milliseconds
	FromRef     bitbucketServerEnd `json:"fromRef"`
	ToRef       bitbucketServerEnd `json:"toRef"`
	Links       struct {
		Self []struct {
			Href string `json:"href"`
		} `json:"self"`
	} `json:"links"`
}

type bitbucketServerEnd struct {
	ID           string `json:"id"`
	LatestCommit string `json:"latestCommit"`
	Repository   struct {
		ID int64 `json:"id"`
	} `json:"repository"`
}

func (p bitbucketServerPull) found() found {
	f := found{
		PullRequest: promotion.PullRequest{State: state(p.State == "OPEN", p.State == "MERGED"), Head: hash(p.FromRef.LatestCommit), Body: p.Description},
		from:        strings.TrimPrefix(p.FromRef.ID, heads), into: strings.TrimPrefix(p.ToRef.ID, heads),
		own: p.FromRef.Repository.ID == p.ToRef.Repository.ID, created: time.UnixMilli(p.CreatedDate),
	}
	if len(p.Links.Self) > 0 {
		f.URL = p.Links.Self[0].Href
	}
	return f
}

func (bitbucketServer) parse(_ place, asked *url.URL, a *answer) ([]found, string, error) {
	var page struct {
		Values []bitbucketServerPull `json:"values"`
		Last   bool                  `json:"isLastPage"`
		Next   int                   `json:"nextPageStart"`
	}
	if err := a.decode(&page); err != nil {
		return nil, "", err
	}
	next := ""
	if !page.Last && page.Next > 0 {
		query := asked.Query()
		query.Set("start", strconv.Itoa(page.Next))
		following := *asked
		following.RawQuery = query.Encode()
		next = following.String()
	}
	return each(page.Values, bitbucketServerPull.found), next, nil
}

func (b bitbucketServer) draft(p place, d promotion.PullRequestDraft) (string, any) {
	ref := func(branch string) map[string]any {
		return map[string]any{"id": heads + branch, "repository": map[string]any{"slug": p.name, "project": map[string]string{"key": p.owner}}}
	}
	return b.repository(p) + "/pull-requests", map[string]any{
		"title": d.Title, "description": d.Body, "fromRef": ref(d.From), "toRef": ref(d.Into),
	}
}

func (bitbucketServer) opened(a *answer) (found, error) {
	var pull bitbucketServerPull
	err := a.decode(&pull)
	return pull.found(), err
}

func (bitbucketServer) page(p place, from, into string) string {
	return "/projects/" + url.PathEscape(p.owner) + "/repos/" + url.PathEscape(p.name) + "/pull-requests?create&" + url.Values{
		"sourceBranch": {heads + from}, "targetBranch": {heads + into},
	}.Encode()
}
