// Package githttp serves the bare repositories of a directory over git's smart
// http protocol by running git itself, so it behaves like any git server:
// hooks, atomic pushes, shallow and filtered fetches. It needs git 2.25 or
// newer on the machine and is meant for demonstrations, tests and small
// private installations behind TLS.
//
//	handler, err := githttp.New("/srv/git", githttp.Options{})
//	dir, err := handler.InitBare(ctx, "shop.git", "main")
//	http.Serve(listener, handler) // git clone http://…/shop.git
package githttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Options configures a [Handler]. The zero value serves everybody.
type Options struct {
	// Authorize decides about each request; write is a push. User and password
	// come from basic authentication and are empty without it. Nil allows all.
	// It is called concurrently.
	Authorize func(user, password string, write bool) bool
	// MaxBody bounds a request's body after decompression, in bytes; default
	// 1 GiB.
	MaxBody int64
	// Logger receives failures of git; nil discards.
	Logger *slog.Logger
}

const defaultMaxBody = 1 << 30

// Handler serves repositories. It is safe for concurrent use.
type Handler struct {
	root    string
	git     string
	options Options
	env     []string
}

var _ http.Handler = (*Handler)(nil)

// New returns a handler for the repositories below the directory root, which
// must exist.
func New(root string, options Options) (*Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, errors.New("git executable not found; install git")
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("git server: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("git server: %s is not a directory", root)
	}
	if options.MaxBody <= 0 {
		options.MaxBody = defaultMaxBody
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{root: root, git: git, options: options, env: environment(root)}, nil
}

var (
	// namePattern keeps names inside the root: no empty part, none that starts
	// with a dot (so no "..") or a dash (so no option of git).
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}$`)
	// protocolPattern is what a Git-Protocol header may carry into git.
	protocolPattern = regexp.MustCompile(`^[a-z0-9=:._-]{1,100}$`)
)

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	var name, service string
	advertise := false
	if repo, ok := strings.CutSuffix(path, "/info/refs"); ok {
		name, advertise = repo, true
		service = strings.TrimPrefix(r.URL.Query().Get("service"), "git-")
	} else if i := strings.LastIndex(path, "/git-"); i >= 0 {
		name, service = path[:i], path[i+len("/git-"):]
	}
	switch {
	case service != "upload-pack" && service != "receive-pack":
		http.Error(w, "not a request of git's smart http protocol", http.StatusNotFound)
		return
	case advertise != (r.Method == http.MethodGet), !advertise && r.Method != http.MethodPost:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !h.authorized(w, r, service == "receive-pack") {
		return
	}
	dir, ok := h.directory(name)
	if !ok {
		http.Error(w, "repository not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if advertise {
		h.advertise(w, r, service, dir)
		return
	}
	h.serve(w, r, service, dir)
}

// authorized answers refused requests: 401 to those who may try other
// credentials, 403 to those who may read but not write.
func (h *Handler) authorized(w http.ResponseWriter, r *http.Request, write bool) bool {
	if h.options.Authorize == nil {
		return true
	}
	user, password, given := r.BasicAuth()
	if h.options.Authorize(user, password, write) {
		return true
	}
	if write && given && h.options.Authorize(user, password, false) {
		http.Error(w, "no permission to push", http.StatusForbidden)
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="git", charset="UTF-8"`)
	http.Error(w, "wrong or missing credentials", http.StatusUnauthorized)
	return false
}

// directory finds a repository by its name.
func (h *Handler) directory(name string) (string, bool) {
	if !namePattern.MatchString(name) {
		return "", false
	}
	dir := filepath.Join(h.root, filepath.FromSlash(name))
	_, err := os.Stat(filepath.Join(dir, "HEAD"))
	return dir, err == nil
}

func (h *Handler) advertise(w http.ResponseWriter, r *http.Request, service, dir string) {
	protocol := h.protocol(r, service)
	out := &answer{w: w, kind: "application/x-git-" + service + "-advertisement"}
	// Version 2 begins with its capabilities; older ones name the service.
	if !strings.Contains(protocol, "version=2") {
		line := "# service=git-" + service + "\n"
		out.prefix = fmt.Sprintf("%04x%s0000", len(line)+4, line)
	}
	// --advertise-refs, the old name of --http-backend-info-refs, is known to
	// every git.
	h.run(r, out, nil, protocol, service, "--stateless-rpc", "--advertise-refs", dir)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, service, dir string) {
	if kind := r.Header.Get("Content-Type"); kind != "application/x-git-"+service+"-request" {
		http.Error(w, "unexpected content type", http.StatusUnsupportedMediaType)
		return
	}
	switch r.Header.Get("Content-Encoding") {
	case "", "gzip", "x-gzip":
	default:
		http.Error(w, "unsupported content encoding", http.StatusUnsupportedMediaType)
		return
	}
	in, err := h.body(w, r)
	if err != nil {
		switch {
		case errors.Is(err, errStorage):
			h.options.Logger.ErrorContext(r.Context(), "git request lost", "error", err)
			http.Error(w, errStorage.Error(), http.StatusInsufficientStorage)
		case errors.As(err, new(*http.MaxBytesError)):
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		default:
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return
	}
	defer in.remove()
	out := &answer{w: w, kind: "application/x-git-" + service + "-result"}
	h.run(r, out, in.reader, h.protocol(r, service), service, "--stateless-rpc", dir)
}

// protocol is the version that the client asks for. Pushing has no version 2,
// and git clients do not ask for it.
func (h *Handler) protocol(r *http.Request, service string) string {
	p := r.Header.Get("Git-Protocol")
	if service != "upload-pack" || !protocolPattern.MatchString(p) {
		return ""
	}
	return p
}
