package codehost

import (
	"net/http"
	"net/url"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// gitlab is GitLab's REST API v4: https://docs.gitlab.com/api/merge_requests/
type gitlab struct{}

func (gitlab) authorize(r *http.Request, token string) { bearer(r, token) }

func (gitlab) rights() string {
	return "a project access token with the role Developer and the scope api"
}

func (gitlab) repository(p place) string {
	return "/projects/" + url.PathEscape(p.owner+"/"+p.name)
}

func (g gitlab) list(p place, from, into string) string {
	return g.repository(p) + "/merge_requests?" + url.Values{
		"source_branch": {from}, "target_branch": {into}, "state": {"all"}, "order_by": {"created_at"}, "sort": {"desc"}, "per_page": {"100"},
	}.Encode()
}

type gitlabMerge struct {
	URL           string    `json:"web_url"`
	State         string    `json:"state"` // opened, closed, locked (being merged), merged
	SHA           string    `json:"sha"`
	Description   string    `json:"description"`
	CreatedAt     time.Time `json:"created_at"`
	SourceBranch  string    `json:"source_branch"`
	TargetBranch  string    `json:"target_branch"`
	SourceProject int64     `json:"source_project_id"`
	TargetProject int64     `json:"target_project_id"`
}

func (m gitlabMerge) found() found {
	return found{
		PullRequest: promotion.PullRequest{
			URL: m.URL, State: state(m.State == "opened" || m.State == "locked", m.State == "merged"), Head: hash(m.SHA), Body: m.Description,
		},
		from: m.SourceBranch, into: m.TargetBranch, own: m.SourceProject == m.TargetProject, created: m.CreatedAt,
	}
}

func (gitlab) parse(_ place, _ *url.URL, a *answer) ([]found, string, error) {
	var merges []gitlabMerge
	if err := a.decode(&merges); err != nil {
		return nil, "", err
	}
	return each(merges, gitlabMerge.found), nextLink(a.header), nil
}

func (g gitlab) draft(p place, d promotion.PullRequestDraft) (string, any) {
	return g.repository(p) + "/merge_requests", map[string]any{
		"title": d.Title, "source_branch": d.From, "target_branch": d.Into, "description": d.Body, "remove_source_branch": true,
	}
}

func (gitlab) opened(a *answer) (found, error) {
	var merge gitlabMerge
	err := a.decode(&merge)
	return merge.found(), err
}

func (gitlab) page(p place, from, into string) string {
	return "/" + branchPath(p.owner) + "/" + url.PathEscape(p.name) + "/-/merge_requests/new?" + url.Values{
		"merge_request[source_branch]": {from}, "merge_request[target_branch]": {into},
	}.Encode()
}
