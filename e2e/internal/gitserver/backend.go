package gitserver

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/cgi" //nolint:gosec // CVE-2016-5386 was fixed long before the Go that builds this
	"os"
	"regexp"
	"strings"
	"time"
)

// maxBody bounds a request, in bytes. The repositories of a suite are small.
const maxBody = 64 << 20

// protocolPattern is what may pass from a header into git's environment.
var protocolPattern = regexp.MustCompile(`^[a-z0-9=:._-]{1,100}$`)

// ServeHTTP implements [http.Handler]: authentication, faults and the journal
// around git's http-backend.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	repo, service, advertise := split(r)
	if service == "" {
		http.Error(w, "not a request of git's smart http protocol", http.StatusNotFound)
		return
	}
	// All of it first: CGI knows no chunked requests, and git begins to answer
	// while it reads, which http/1 connections do not survive.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	user, known := s.authenticate(r)
	entry := Request{
		At: began, User: user.Name, Repo: repo, Kind: kindOf(service, advertise, body),
		Write: service == "receive-pack", Received: int64(len(body)),
	}
	answer := &counter{ResponseWriter: w}
	fault := s.faults.take(entry)
	if !fault.wait(r.Context()) {
		return
	}
	if fault.Call != nil && !fault.Lose {
		fault.Call()
	}
	switch {
	case fault.Lose && known:
		s.backendAnswer(discard{http.Header{}}, r, body, user)
		if fault.Call != nil {
			fault.Call()
		}
	case fault.Status != 0:
		http.Error(answer, http.StatusText(fault.Status), fault.Status)
	case !known:
		answer.Header().Set("WWW-Authenticate", `Basic realm="git", charset="UTF-8"`)
		http.Error(answer, "wrong or missing credentials", http.StatusUnauthorized)
	case entry.Write && !user.Push:
		http.Error(answer, "no permission to push", http.StatusForbidden)
	default:
		if _, err := s.dir(repo); err != nil {
			http.Error(answer, "repository not found", http.StatusNotFound)
			break
		}
		s.backendAnswer(answer, r, body, user)
	}
	entry.Took, entry.Status, entry.Sent = time.Since(began), answer.status, answer.sent
	s.journal.add(entry)
	if entry.Kind == Push && s.options.AfterPush != nil && known {
		s.after.Go(func() { s.options.AfterPush(repo, user.Name) })
	}
	if fault.Lose {
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
}

// split finds repository and service in a URL; the service is empty if it is
// not a request of git.
func split(r *http.Request) (repo, service string, advertise bool) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if name, ok := strings.CutSuffix(path, "/info/refs"); ok && r.Method == http.MethodGet {
		repo, service, advertise = name, strings.TrimPrefix(r.URL.Query().Get("service"), "git-"), true
	} else if name, last, ok := strings.Cut(path, "/git-"); ok && r.Method == http.MethodPost {
		repo, service = name, last
	}
	if service != "upload-pack" && service != "receive-pack" || !repoPattern.MatchString(repo) {
		return "", "", false
	}
	return repo, service, advertise
}

// backendAnswer lets git's http-backend answer.
func (s *Server) backendAnswer(w http.ResponseWriter, r *http.Request, body []byte, user User) {
	request := r.Clone(r.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.ContentLength, request.TransferEncoding = int64(len(body)), nil
	request.Header.Del("Authorization") // CGI would hand it to git and its hooks
	env := append(environment(s.options.Dir),
		"GIT_PROJECT_ROOT="+s.options.Dir,
		"GIT_HTTP_EXPORT_ALL=1",
		"REMOTE_USER="+user.Name,
	)
	if protocol := r.Header.Get("Git-Protocol"); protocolPattern.MatchString(protocol) {
		env = append(env, "GIT_PROTOCOL="+protocol)
	}
	handler := cgi.Handler{Path: s.backend, Root: "/", Dir: s.options.Dir, Env: env, Stderr: s.log, Logger: log.New(s.log, "git-http-backend: ", 0)}
	handler.ServeHTTP(w, request)
}

// environment keeps git away from the configuration of whoever runs the suite.
func environment(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
	}
}

// counter remembers what was answered.
type counter struct {
	http.ResponseWriter
	status int
	sent   int64
}

func (c *counter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.sent += int64(n)
	return n, err
}

// discard takes an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
