// Package codehosttest serves the APIs of git hosts for tests, as far as they are
// about pull requests. Each kind behaves as its own documentation says: how it
// wants the token, how it pages, what it filters by, and how it refuses a second
// open request of the same branches.
package codehosttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
)

// Token is what the server accepts.
const Token = "t0ken-of-the-bot" //nolint:gosec // opens this server only

// Pull is a request that the server has.
type Pull struct {
	Number     int
	Title      string
	Body       string
	From, Into string
	// Head is the commit; Fork says that it is in somebody's copy.
	Head    string
	Fork    bool
	State   string // open, merged, closed
	Created time.Time
}

// Server is one host with the repository shop/app.
type Server struct {
	Kind config.HostKind
	// Page is how many requests are given at once. Default: as many as are asked for.
	Page int
	// Fault, when set, is asked before each request; true means that it has answered.
	Fault func(w http.ResponseWriter, r *http.Request) bool
	// Unanswered makes so many requests be opened without an answer.
	Unanswered int
	// Blind makes so many listings miss what is there, as while another replica
	// opens it.
	Blind int

	http *httptest.Server

	mu       sync.Mutex // guards the fields below and Unanswered, Blind
	pulls    []Pull
	heads    map[string]string
	requests []string
}

// New starts a server; the test ends it.
func New(t testing.TB, kind config.HostKind) *Server {
	t.Helper()
	s := &Server{Kind: kind, heads: map[string]string{}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// Repository is the URL of the repository for git.
func (s *Server) Repository() string {
	if s.Kind == config.BitbucketServer {
		return s.http.URL + "/scm/shop/app.git"
	}
	return s.http.URL + "/shop/app.git"
}

// Host is the name of the server, for a file with its token.
func (s *Server) Host() string { return "127.0.0.1" }

// URL is its address.
func (s *Server) URL() string { return s.http.URL }

// Push sets a branch.
func (s *Server) Push(branch, commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads[branch] = commit
	for i := range s.pulls {
		if p := &s.pulls[i]; p.From == branch && p.State == "open" && !p.Fork {
			p.Head = commit
		}
	}
}

// Add adds a request, as if a person had opened it.
func (s *Server) Add(p Pull) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Number = len(s.pulls) + 1
	s.pulls = append(s.pulls, p)
}

// End closes or merges the open requests of a branch.
func (s *Server) End(branch, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.pulls {
		if s.pulls[i].From == branch && s.pulls[i].State == "open" {
			s.pulls[i].State = state
		}
	}
}

// Pulls lists the requests.
func (s *Server) Pulls() []Pull {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pulls)
}

// Requests lists what was asked for, and forgets it.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// Heal ends the fault.
func (s *Server) Heal() { s.Break(nil) }

// Break sets a fault.
func (s *Server) Break(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Fault = fault
}

// Answer is a fault: one answer to everything.
func Answer(status int, body string, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	fault := s.Fault
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	want := map[config.HostKind]string{config.Gitea: "token " + Token}[s.Kind]
	if want == "" {
		want = "Bearer " + Token
	}
	repository, list := s.paths()
	_, basic, _ := r.BasicAuth()
	switch path := r.URL.EscapedPath(); {
	case r.Header.Get("Authorization") != want && !(s.Kind == config.Bitbucket && basic == Token):
		s.refuse(w, http.StatusUnauthorized, "Bad credentials")
	case path == repository && r.Method == http.MethodGet:
		_, _ = w.Write([]byte("{}"))
	case path == list && r.Method == http.MethodGet:
		s.list(w, r)
	case path == list && r.Method == http.MethodPost:
		s.create(w, r)
	default:
		s.refuse(w, http.StatusNotFound, "Not Found")
	}
}

func (s *Server) paths() (repository, list string) {
	switch s.Kind {
	case config.GitHub:
		return "/api/v3/repos/shop/app", "/api/v3/repos/shop/app/pulls"
	case config.GitLab:
		return "/api/v4/projects/shop%2Fapp", "/api/v4/projects/shop%2Fapp/merge_requests"
	case config.Gitea:
		return "/api/v1/repos/shop/app", "/api/v1/repos/shop/app/pulls"
	case config.Bitbucket:
		return "/2.0/repositories/shop/app", "/2.0/repositories/shop/app/pullrequests"
	case config.BitbucketServer:
		return "/rest/api/1.0/projects/shop/repos/app", "/rest/api/1.0/projects/shop/repos/app/pull-requests"
	}
	return "", ""
}

// refuse answers with an error in the form of the kind.
func (s *Server) refuse(w http.ResponseWriter, status int, message string) {
	var body any
	switch s.Kind {
	case config.GitHub:
		body = map[string]any{"message": "Validation Failed", "errors": []any{map[string]string{"resource": "PullRequest", "code": "custom", "message": message}}}
	case config.GitLab:
		body = map[string]any{"message": []string{message}}
	case config.Gitea:
		body = map[string]any{"message": message, "url": "https://docs.example/api"}
	case config.Bitbucket:
		body = map[string]any{"type": "error", "error": map[string]string{"message": message}}
	case config.BitbucketServer:
		body = map[string]any{"errors": []any{map[string]any{"context": nil, "message": message, "exceptionName": "com.atlassian.bitbucket.Exception"}}}
	}
	answerJSON(w, status, body)
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}

// list gives one page, newest first.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	var all []Pull
	for _, p := range s.pulls {
		if s.matches(p, q.Get) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b Pull) int { return b.Created.Compare(a.Created) })
	if s.Blind > 0 {
		s.Blind--
		all = nil
	}
	size, start := s.bounds(q.Get)
	page := all[min(start, len(all)):min(start+size, len(all))]
	more := start+size < len(all)
	documents := []any{}
	for _, p := range page {
		documents = append(documents, s.document(p))
	}
	next := *r.URL
	switch s.Kind {
	case config.Bitbucket:
		body := map[string]any{"values": documents, "pagelen": size}
		if more {
			q.Set("page", strconv.Itoa(start/size+2))
			next.RawQuery = q.Encode()
			body["next"] = s.http.URL + next.RequestURI()
		}
		answerJSON(w, http.StatusOK, body)
	case config.BitbucketServer:
		body := map[string]any{"values": documents, "size": len(page), "start": start, "isLastPage": !more, "nextPageStart": nil}
		if more {
			body["nextPageStart"] = start + size
		}
		answerJSON(w, http.StatusOK, body)
	case config.GitHub, config.GitLab, config.Gitea:
		if more {
			q.Set("page", strconv.Itoa(start/size+2))
			next.RawQuery = q.Encode()
			base := s.http.URL
			if s.Kind == config.Gitea {
				base = "https://gitea.inner.example" // its own idea of where it is
			}
			w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next",<%s>; rel="last"`, base+next.RequestURI(), base+next.RequestURI()))
		}
		answerJSON(w, http.StatusOK, documents)
	}
}

func (s *Server) bounds(get func(string) string) (size, start int) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(get(name)); err == nil {
			return n
		}
		return otherwise
	}
	sizes := map[config.HostKind]string{config.GitHub: "per_page", config.GitLab: "per_page", config.Gitea: "limit", config.Bitbucket: "pagelen", config.BitbucketServer: "limit"}
	size = number(sizes[s.Kind], 30)
	if s.Page > 0 {
		size = min(size, s.Page)
	}
	if s.Kind == config.BitbucketServer {
		return size, number("start", 0)
	}
	return size, (number("page", 1) - 1) * size
}

// matches filters as the kind does.
func (s *Server) matches(p Pull, get func(string) string) bool {
	switch s.Kind {
	case config.GitHub:
		owner := "shop"
		if p.Fork {
			owner = "somebody"
		}
		return get("state") == "all" && owner+":"+p.From == get("head") && p.Into == get("base")
	case config.GitLab:
		return get("state") == "all" && p.From == get("source_branch") && p.Into == get("target_branch")
	case config.Gitea:
		return get("state") == "all"
	case config.Bitbucket:
		return get("q") == fmt.Sprintf("source.branch.name=%q AND destination.branch.name=%q", p.From, p.Into)
	case config.BitbucketServer:
		return get("state") == "ALL" && get("direction") == "OUTGOING" && get("at") == "refs/heads/"+p.From
	}
	return false
}

// create opens a request, or refuses it as the kind does.
func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		s.refuse(w, http.StatusBadRequest, "no JSON")
		return
	}
	text := func(path string) string {
		var at any = body
		for name := range strings.SplitSeq(path, ".") {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		value, _ := at.(string)
		return strings.TrimPrefix(value, "refs/heads/")
	}
	names := map[config.HostKind][4]string{
		config.GitHub: {"head", "base", "title", "body"}, config.GitLab: {"source_branch", "target_branch", "title", "description"}, config.Gitea: {"head", "base", "title", "body"},
		config.Bitbucket: {"source.branch.name", "destination.branch.name", "title", "description"}, config.BitbucketServer: {"fromRef.id", "toRef.id", "title", "description"},
	}[s.Kind]
	p := Pull{From: text(names[0]), Into: text(names[1]), Title: text(names[2]), Body: text(names[3]), State: "open", Created: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	double := slices.ContainsFunc(s.pulls, func(other Pull) bool {
		return other.State == "open" && !other.Fork && other.From == p.From && other.Into == p.Into
	})
	p.Head = s.heads[p.From]
	switch {
	case p.Title == "" || p.Head == "":
		s.refuse(w, map[config.HostKind]int{config.GitHub: 422, config.GitLab: 400, config.Gitea: 404, config.Bitbucket: 400, config.BitbucketServer: 404}[s.Kind], "the branch does not exist")
		return
	case double:
		status := map[config.HostKind]int{config.GitHub: 422, config.GitLab: 409, config.Gitea: 409, config.Bitbucket: 400, config.BitbucketServer: 409}[s.Kind]
		s.refuse(w, status, "A pull request already exists for shop:"+p.From+".")
		return
	}
	p.Number = len(s.pulls) + 1
	s.pulls = append(s.pulls, p)
	if s.Unanswered > 0 {
		s.Unanswered--
		panic(http.ErrAbortHandler)
	}
	answerJSON(w, http.StatusCreated, s.document(p))
}

// document is a request in the form of the kind.
func (s *Server) document(p Pull) any {
	page := fmt.Sprintf("%s/shop/app/pull/%d", s.http.URL, p.Number)
	home, of := 1, 1
	owner := "shop"
	if p.Fork {
		of, owner = 2, "somebody"
	}
	var mergedAt any
	if p.State == "merged" {
		mergedAt = p.Created.Add(time.Hour)
	}
	closed := map[bool]string{true: "open", false: "closed"}[p.State == "open"]
	switch s.Kind {
	case config.GitHub:
		return map[string]any{
			"html_url": page, "number": p.Number, "state": closed, "merged_at": mergedAt, "created_at": p.Created, "body": p.Body, "title": p.Title,
			"head": map[string]any{"ref": p.From, "sha": p.Head, "repo": map[string]any{"id": of}},
			"base": map[string]any{"ref": p.Into, "sha": "0", "repo": map[string]any{"id": home}},
		}
	case config.GitLab:
		return map[string]any{
			"web_url": page, "iid": p.Number, "state": map[string]string{"open": "opened", "merged": "merged", "closed": "closed"}[p.State], "sha": p.Head,
			"description": p.Body, "created_at": p.Created, "source_branch": p.From, "target_branch": p.Into, "source_project_id": of, "target_project_id": home,
		}
	case config.Gitea:
		ref := p.From
		if s.heads[p.From] == "" {
			ref = fmt.Sprintf("refs/pull/%d/head", p.Number) // the branch is deleted
		}
		return map[string]any{
			"html_url": page, "number": p.Number, "state": closed, "merged": p.State == "merged", "created_at": p.Created, "body": p.Body,
			"head": map[string]any{"label": p.From, "ref": ref, "sha": p.Head, "repo_id": of},
			"base": map[string]any{"label": p.Into, "ref": p.Into, "sha": "0", "repo_id": home},
		}
	case config.Bitbucket:
		short := p.Head[:min(12, len(p.Head))]
		return map[string]any{
			"state": map[string]string{"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}[p.State], "description": p.Body, "created_on": p.Created,
			"links":       map[string]any{"html": map[string]string{"href": page}},
			"source":      map[string]any{"branch": map[string]string{"name": p.From}, "commit": map[string]string{"hash": short}, "repository": map[string]string{"full_name": owner + "/app"}},
			"destination": map[string]any{"branch": map[string]string{"name": p.Into}, "repository": map[string]string{"full_name": "shop/app"}},
		}
	case config.BitbucketServer:
		return map[string]any{
			"id": p.Number, "state": map[string]string{"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}[p.State], "description": p.Body, "createdDate": p.Created.UnixMilli(),
			"links":   map[string]any{"self": []any{map[string]string{"href": page}}},
			"fromRef": map[string]any{"id": "refs/heads/" + p.From, "latestCommit": p.Head, "repository": map[string]any{"id": of}},
			"toRef":   map[string]any{"id": "refs/heads/" + p.Into, "latestCommit": "0", "repository": map[string]any{"id": home}},
		}
	}
	return nil
}
