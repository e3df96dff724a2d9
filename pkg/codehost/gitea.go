package codehost

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// gitea is the API v1 of Gitea and Forgejo: https://docs.gitea.com/api/,
// https://forgejo.org/docs/latest/user/api-usage/. It cannot be asked for a
// branch, so all requests are looked through, newest first.
type gitea struct{}

func (gitea) authorize(r *http.Request, token string) {
	r.Header.Set("Authorization", "token "+token)
}

func (gitea) rights() string {
	return "the scope write:repository, of a user who may read the code and write pull requests"
}

func (gitea) repository(p place) string { return "/repos/" + p.path() }

// giteaPage is what servers give at most, as they come.
const giteaPage = 50

func (g gitea) list(p place, _, _ string) string {
	return g.repository(p) + "/pulls?" + url.Values{"state": {"all"}, "limit": {strconv.Itoa(giteaPage)}, "page": {"1"}}.Encode()
}

type giteaPull struct {
	URL       string    `json:"html_url"`
	State     string    `json:"state"`
	Merged    bool      `json:"merged"`
	CreatedAt time.Time `json:"created_at"`
	Body      string    `json:"body"`
	Head      giteaEnd  `json:"head"`
	Base      giteaEnd  `json:"base"`
}

// giteaEnd: once the branch is deleted, Ref is refs/pull/<number>/head, and Label
// still the branch.
type giteaEnd struct {
	Label  string `json:"label"`
	Ref    string `json:"ref"`
	SHA    string `json:"sha"`
	RepoID int64  `json:"repo_id"`
}

func (p giteaPull) found() found {
	from := p.Head.Label
	if from == "" {
		from = p.Head.Ref
	}
	return found{
		PullRequest: promotion.PullRequest{URL: p.URL, State: state(p.State == "open", p.Merged), Head: hash(p.Head.SHA), Body: p.Body},
		from:        from, into: p.Base.Ref, own: p.Head.RepoID == p.Base.RepoID, created: p.CreatedAt,
	}
}

func (gitea) parse(_ place, asked *url.URL, a *answer) ([]found, string, error) {
	var pulls []giteaPull
	if err := a.decode(&pulls); err != nil {
		return nil, "", err
	}
	// The header Link names the server as it knows itself, which need not be how it
	// was reached.
	next := ""
	query := asked.Query()
	if page, err := strconv.Atoi(query.Get("page")); err == nil && nextLink(a.header) != "" && len(pulls) > 0 {
		query.Set("page", strconv.Itoa(page+1))
		following := *asked
		following.RawQuery = query.Encode()
		next = following.String()
	}
	return each(pulls, giteaPull.found), next, nil
}

func (g gitea) draft(p place, d promotion.PullRequestDraft) (string, any) {
	return g.repository(p) + "/pulls", map[string]any{"title": d.Title, "head": d.From, "base": d.Into, "body": d.Body}
}

func (gitea) opened(a *answer) (found, error) {
	var pull giteaPull
	err := a.decode(&pull)
	return pull.found(), err
}

func (gitea) page(p place, from, into string) string {
	return "/" + p.path() + "/compare/" + branchPath(into) + "..." + branchPath(from)
}
