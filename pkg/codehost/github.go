package codehost

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// github is GitHub's REST API, version 2022-11-28:
// https://docs.github.com/en/rest/pulls/pulls
type github struct{}

func (github) authorize(r *http.Request, token string) {
	bearer(r, token)
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("X-Github-Api-Version", "2022-11-28")
}

func (github) rights() string {
	return "a fine-grained token for this repository alone, with Pull requests: read and write"
}

func (github) repository(p place) string { return "/repos/" + p.path() }

func (g github) list(p place, from, into string) string {
	return g.repository(p) + "/pulls?" + url.Values{
		"head": {p.owner + ":" + from}, "base": {into}, "state": {"all"}, "sort": {"created"}, "direction": {"desc"}, "per_page": {"100"},
	}.Encode()
}

// githubPull has no repository in its head when that was deleted.
type githubPull struct {
	URL       string     `json:"html_url"`
	State     string     `json:"state"`
	MergedAt  *time.Time `json:"merged_at"`
	CreatedAt time.Time  `json:"created_at"`
	Body      string     `json:"body"`
	Head      githubEnd  `json:"head"`
	Base      githubEnd  `json:"base"`
}

type githubEnd struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID int64 `json:"id"`
	} `json:"repo"`
}

func (p githubPull) found() found {
	return found{
		PullRequest: promotion.PullRequest{URL: p.URL, State: state(p.State == "open", p.MergedAt != nil), Head: hash(p.Head.SHA), Body: p.Body},
		from:        p.Head.Ref, into: p.Base.Ref, created: p.CreatedAt,
		own: p.Head.Repo != nil && p.Base.Repo != nil && p.Head.Repo.ID == p.Base.Repo.ID,
	}
}

func (github) parse(_ place, _ *url.URL, a *answer) ([]found, string, error) {
	var pulls []githubPull
	if err := a.decode(&pulls); err != nil {
		return nil, "", err
	}
	return each(pulls, githubPull.found), nextLink(a.header), nil
}

func (g github) draft(p place, d promotion.PullRequestDraft) (string, any) {
	return g.repository(p) + "/pulls", map[string]any{"title": d.Title, "head": d.From, "base": d.Into, "body": d.Body}
}

func (github) opened(a *answer) (found, error) {
	var pull githubPull
	err := a.decode(&pull)
	return pull.found(), err
}

func (github) page(p place, from, into string) string {
	return "/" + p.path() + "/compare/" + branchPath(into) + "..." + branchPath(from) + "?expand=1"
}

// each converts a page.
func each[T any](all []T, convert func(T) found) []found {
	converted := make([]found, 0, len(all))
	for _, one := range all {
		converted = append(converted, convert(one))
	}
	return converted
}

// nextLink is the next page in a header Link (RFC 8288).
func nextLink(h http.Header) string {
	for _, header := range h.Values("Link") {
		for link := range strings.SplitSeq(header, ",") {
			target, parameters, _ := strings.Cut(link, ";")
			target = strings.TrimSpace(target)
			if strings.Contains(parameters, `rel="next"`) && strings.HasPrefix(target, "<") && strings.HasSuffix(target, ">") {
				return target[1 : len(target)-1]
			}
		}
	}
	return ""
}

// branchPath is a branch in the path of a page: its slashes stay.
func branchPath(branch string) string {
	return strings.ReplaceAll(url.PathEscape(branch), "%2F", "/")
}
