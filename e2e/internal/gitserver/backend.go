package gitserver

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxBody bounds a request, in bytes. The repositories of a suite are small.
const maxBody = 64 << 20

// protocolPattern is what may pass from a header into git's environment.
var protocolPattern = regexp.MustCompile(`^[a-z0-9=:._-]{1,100}$`)

// ServeHTTP implements [http.Handler]: authentication, faults and the journal
// around git.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	repo, service, advertise := split(r)
	if service == "" {
		http.Error(w, "not a request of git's smart http protocol", http.StatusNotFound)
		return
	}
	// All of it first: git begins to answer while it reads, which http/1
	// connections do not survive.
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
		_ = s.ask(discard{http.Header{}}, r, service, repo, advertise, body, user)
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
		if err := s.ask(answer, r, service, repo, advertise, body, user); err != nil {
			// What git could not do it has said to the client.
			_, _ = fmt.Fprintf(s.log, "git %s %s: %v\n", service, repo, err)
		}
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

// ask lets git's upload-pack or receive-pack answer, one process for a request.
// The other way, git's http-backend, starts a second one for the same answer,
// which is felt where hundreds of requests come in a minute.
//
// Source: https://git-scm.com/docs/http-protocol, section "Smart Clients".
func (s *Server) ask(w http.ResponseWriter, r *http.Request, service, repo string, advertise bool, body []byte, user User) error {
	args := []string{service, "--stateless-rpc"}
	answer := "application/x-git-" + service + "-result"
	if advertise {
		args = append(args, "--advertise-refs")
		answer = "application/x-git-" + service + "-advertisement"
	}
	protocol := r.Header.Get("Git-Protocol")
	if !protocolPattern.MatchString(protocol) {
		protocol = ""
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(unzip, maxBody))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return nil
		}
	}

	// A push that has begun ends, even if its client is killed.
	command := exec.CommandContext(context.WithoutCancel(r.Context()), "git", append(args, ".")...) //nolint:gosec // the service is one of two words
	command.Dir = filepath.Join(s.options.Dir, repo)
	command.Env = append(environment(s.options.Dir), "REMOTE_USER="+user.Name, "GIT_PROTOCOL="+protocol)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(body), w, s.log
	w.Header().Set("Content-Type", answer)
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	if advertise && !slices.Contains(strings.Split(protocol, ":"), "version=2") {
		line := "# service=git-" + service + "\n"
		if _, err := fmt.Fprintf(w, "%04x%s0000", len(line)+4, line); err != nil { //nolint:gosec // not a page
			return err
		}
	}
	return command.Run()
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
