// Package kubetest serves objects as a Kubernetes API server does, for tests of
// what reads one. It is read-only, answers what people may do, keeps no types, and misbehaves on request.
package kubetest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// Token is what the kubeconfigs of a Server carry.
const Token = "kubetest-token-0123456789"

// Server is an API server. Its methods are safe for concurrent use.
type Server struct {
	// URL of the server.
	URL string
	ca  []byte // PEM
	t   testing.TB

	mu        sync.Mutex // guards the rest
	objects   map[string]map[string]any
	version   string
	forbidden []string
	// forbiddenPath is the one that is forbidden alone, broken the end of those
	// that do not work; empty for none.
	forbiddenPath, broken string
	ahead                 time.Duration
	// denied are the rights that nobody has, as Deny takes them.
	denied []string
	asked  []string
}

// New starts a server with the objects of a file of YAML documents. It stops with
// the test.
func New(t testing.TB, documents string) *Server {
	t.Helper()
	s := &Server{t: t, objects: map[string]map[string]any{}, version: "v1.33.13"}
	for _, document := range strings.Split(documents, "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if len(object) > 0 {
			s.Add(object)
		}
	}
	// With TLS, as client libraries send no token without.
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are the client's to report
	server.StartTLS()
	t.Cleanup(server.Close)
	s.URL = server.URL
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return s
}

// Add puts an object there, or replaces it. A Secret may have stringData.
func (s *Server) Add(object map[string]any) {
	s.t.Helper()
	metadata, ok := object["metadata"].(map[string]any)
	if !ok {
		s.t.Fatalf("an object has no metadata: %v", object)
	}
	if data, ok := object["stringData"].(map[string]any); ok {
		encoded := map[string]any{}
		for key, value := range data {
			encoded[key] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(value)))
		}
		object["data"] = encoded
		delete(object, "stringData")
	}
	namespace, _ := metadata["namespace"].(string)
	path := kube.Path(fmt.Sprint(object["apiVersion"]), namespace,
		strings.ToLower(fmt.Sprint(object["kind"]))+"s", fmt.Sprint(metadata["name"]))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = object
}

// Remove takes the one object away whose path ends so.
func (s *Server) Remove(path string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		if strings.HasSuffix(key, path) {
			delete(s.objects, key)
			return
		}
	}
	s.t.Fatalf("there is no %s", path)
}

// Forbid answers 403 wherever a path contains one of the parts.
func (s *Server) Forbid(parts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbidden = parts
}

// ForbidExactly answers 403 at one path, and not below it.
func (s *Server) ForbidExactly(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbiddenPath = path
}

// Break answers 500 wherever a path ends so.
func (s *Server) Break(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = path
}

// Deny takes rights away from every service account, each "verb resource", with
// "namespace/" before it where it is denied in one only. All others are granted.
func (s *Server) Deny(rights ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = rights
}

// Asked lists which rights were asked about, and whose: "user verb
// namespace/resource", with "/name" behind it where one object was meant.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// review answers a SubjectAccessReview. s.mu is held.
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Kind string `json:"kind"`
		Spec struct {
			User               string            `json:"user"`
			ResourceAttributes map[string]string `json:"resourceAttributes"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || question.Kind != "SubjectAccessReview" || question.Spec.User == "" {
		answer(w, http.StatusBadRequest, status("this is no SubjectAccessReview"))
		return
	}
	a := question.Spec.ResourceAttributes
	what := a["namespace"] + "/" + a["resource"]
	if a["name"] != "" {
		what += "/" + a["name"]
	}
	s.asked = append(s.asked, question.Spec.User+" "+a["verb"]+" "+what)
	denied := slices.Contains(s.denied, a["verb"]+" "+a["resource"]) || slices.Contains(s.denied, a["namespace"]+"/"+a["verb"]+" "+a["resource"])
	answer(w, http.StatusCreated, map[string]any{"status": map[string]any{"allowed": !denied}})
}

// Version changes the server's version.
func (s *Server) Version(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
}

// Ahead sets the server's clock wrong.
func (s *Server) Ahead(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = by
}

// Kubeconfig writes a kubeconfig for the server and returns its path.
func (s *Server) Kubeconfig() string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"test","contexts":[{"name":"test","context":{"cluster":"test","user":"ada"}}],`+
		`"clusters":[{"name":"test","cluster":{"server":%q,"certificate-authority-data":%q}}],"users":[{"name":"ada","user":{"token":%q}}]}`, s.URL, base64.StdEncoding.EncodeToString(s.ca), Token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// Client reads the server.
func (s *Server) Client() *kube.Client {
	s.t.Helper()
	client, err := kube.Connect(kube.Options{Kubeconfig: s.Kubeconfig()})
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	review := r.Method == http.MethodPost && r.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
	switch {
	case r.Method != http.MethodGet && !review:
		answer(w, http.StatusMethodNotAllowed, status("this server is read-only"))
	case r.Header.Get("Authorization") != "Bearer "+Token:
		answer(w, http.StatusUnauthorized, status("Unauthorized"))
	case slices.ContainsFunc(s.forbidden, func(part string) bool { return strings.Contains(r.URL.Path, part) }):
		answer(w, http.StatusForbidden, status(fmt.Sprintf(`%s is forbidden: User "ada" cannot get it`, r.URL.Path)))
	case s.forbiddenPath == r.URL.Path:
		answer(w, http.StatusForbidden, status(fmt.Sprintf(`%s is forbidden: User "ada" cannot list it`, r.URL.Path)))
	case s.broken != "" && strings.HasSuffix(r.URL.Path, s.broken):
		answer(w, http.StatusInternalServerError, status("etcd does not answer"))
	case review:
		s.review(w, r)
	case r.URL.Path == "/version":
		answer(w, http.StatusOK, map[string]string{"gitVersion": s.version})
	case s.objects[r.URL.Path] != nil:
		answer(w, http.StatusOK, s.objects[r.URL.Path])
	default:
		s.list(w, r)
	}
}

// list answers with the objects below a path. s.mu is held.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		answer(w, http.StatusBadRequest, status(err.Error()))
		return
	}
	last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if !slices.Contains([]string{"deployments", "pods", "applications", "applicationsets", "configmaps", "secrets", "services", "nodes", "jobs"}, last) {
		answer(w, http.StatusNotFound, status(r.URL.Path+" not found"))
		return
	}
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		rest, below := strings.CutPrefix(path, r.URL.Path+"/")
		if below && !strings.Contains(rest, "/") && selector.Matches(labelsOf(s.objects[path])) {
			items = append(items, s.objects[path])
		}
	}
	answer(w, http.StatusOK, map[string]any{"metadata": map[string]any{}, "items": items})
}

func labelsOf(object map[string]any) labels.Set {
	set := labels.Set{}
	metadata, _ := object["metadata"].(map[string]any)
	given, _ := metadata["labels"].(map[string]any)
	for key, value := range given {
		set[key] = fmt.Sprint(value)
	}
	return set
}

func status(message string) map[string]any {
	return map[string]any{"kind": "Status", "message": message}
}

func answer(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(document) // the test looks at the client
}
