package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	leases "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

const (
	namespace = "argocd"
	group     = "shop"
	lifetime  = 30 * time.Second
)

// apiServer keeps Leases as Kubernetes does: with resource versions, conflicts
// and preconditions. It is safe for concurrent use.
type apiServer struct {
	t testing.TB

	mu       sync.Mutex // guards the fields below
	leases   map[string]coordinationv1.Lease
	version  int
	requests []string
}

func newAPIServer(t testing.TB) *apiServer {
	return &apiServer{t: t, leases: map[string]coordinationv1.Lease{}}
}

var resource = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

// verbs are Kubernetes' names for what is asked for by a method.
var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodDelete: "delete"}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base := "/apis/coordination.k8s.io/v1/namespaces/" + namespace + "/leases"
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, base), "/")
	if !strings.HasPrefix(r.URL.Path, base) {
		s.t.Errorf("request for %s", r.URL.Path)
	}
	verb := verbs[r.Method]
	if verb == "get" && name == "" {
		verb = "list"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, verb+" "+name)
	answer, err := s.serve(r, verb, name)
	w.Header().Set("Content-Type", "application/json")
	var refused *apierrors.StatusError
	if errors.As(err, &refused) {
		w.WriteHeader(int(refused.ErrStatus.Code))
		answer = refused.ErrStatus
	} else if err != nil {
		s.t.Errorf("%s: %v", verb, err)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.t.Error(err)
	}
}

func (s *apiServer) serve(r *http.Request, verb, name string) (any, error) {
	held, exists := s.leases[name]
	switch verb {
	case "list":
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil {
			return nil, err
		}
		list := coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
		for _, lease := range s.leases {
			if selector.Matches(labels.Set(lease.Labels)) {
				list.Items = append(list.Items, lease)
			}
		}
		slices.SortFunc(list.Items, func(a, b coordinationv1.Lease) int { return strings.Compare(a.Name, b.Name) })
		if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 0 && len(list.Items) > limit {
			list.Items, list.Continue = list.Items[:limit], "more"
		}
		return list, nil
	case "create":
		var lease coordinationv1.Lease
		if err := json.NewDecoder(r.Body).Decode(&lease); err != nil {
			return nil, err
		}
		if _, exists := s.leases[lease.Name]; exists {
			return nil, apierrors.NewAlreadyExists(resource, lease.Name)
		}
		lease.UID = types.UID(fmt.Sprint("uid-", s.version+1))
		return s.put(lease), nil
	}
	if !exists {
		return nil, apierrors.NewNotFound(resource, name)
	}
	switch verb {
	case "update":
		var lease coordinationv1.Lease
		if err := json.NewDecoder(r.Body).Decode(&lease); err != nil {
			return nil, err
		}
		if lease.ResourceVersion != held.ResourceVersion {
			return nil, apierrors.NewConflict(resource, name, errors.New("the object has been modified"))
		}
		return s.put(lease), nil
	case "delete":
		var options metav1.DeleteOptions
		if err := json.NewDecoder(r.Body).Decode(&options); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if p := options.Preconditions; p != nil && (p.UID != nil && *p.UID != held.UID || p.ResourceVersion != nil && *p.ResourceVersion != held.ResourceVersion) {
			return nil, apierrors.NewConflict(resource, name, errors.New("the preconditions do not hold"))
		}
		delete(s.leases, name)
		return metav1.Status{Status: metav1.StatusSuccess}, nil
	}
	return held, nil
}

// put stores a Lease. The server must be locked.
func (s *apiServer) put(lease coordinationv1.Lease) coordinationv1.Lease {
	s.version++
	lease.ResourceVersion = strconv.Itoa(s.version)
	s.leases[lease.Name] = lease
	return lease
}

// add stores a Lease that no member has written.
func (s *apiServer) add(lease coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(lease)
}

func (s *apiServer) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for name := range s.leases {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (s *apiServer) lease(name string) coordinationv1.Lease {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	lease, ok := s.leases[name]
	if !ok {
		s.t.Fatalf("no Lease %s", name)
	}
	return lease
}

// count is how many requests began with something.
func (s *apiServer) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, request := range s.requests {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// How a link is.
const (
	up     = iota
	down   // connections are refused
	hung   // nothing comes back, and nothing arrives
	mute   // what is asked for is done, and the answer lost
	broken // a proxy answers something else
)

// link is a member's connection to the API server.
type link struct {
	server http.Handler

	mu        sync.Mutex // guards the fields below
	state     int
	forbidden []string // verbs
}

// RoundTrip implements http.RoundTripper without a network, so that time can be
// virtual.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	l.mu.Lock()
	state, denied := l.state, l.forbidden
	l.mu.Unlock()
	w := httptest.NewRecorder()
	verb := verbs[r.Method]
	if verb == "get" && strings.HasSuffix(r.URL.Path, "/leases") {
		verb = "list"
	}
	switch {
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	case state == down:
		return nil, errors.New("connection refused")
	case state == hung:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case state == broken:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.WriteString(`{"kind":"LeaseList","items":{`)
	case slices.Contains(denied, verb):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		if err := json.NewEncoder(w).Encode(apierrors.NewForbidden(resource, "", errors.New("no "+verb)).ErrStatus); err != nil {
			return nil, err
		}
	default:
		l.server.ServeHTTP(w, r)
	}
	if state == mute {
		return nil, errors.New("connection reset")
	}
	response := w.Result()
	response.Request = r
	return response, nil
}

func (l *link) set(state int, forbidden ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.forbidden = state, forbidden
}

// client talks to a server as a program does, but for the network.
func client(t testing.TB, transport http.RoundTripper) leases.LeaseInterface {
	t.Helper()
	c, err := leases.NewForConfigAndClient(&rest.Config{
		Host: "https://kubernetes.example", QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"},
	}, &http.Client{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leases(namespace)
}

// member is one process.
type member struct {
	*Members
	link *link
	stop func() // as SIGTERM does
	// told is how often it was told of a change.
	mu   sync.Mutex
	told int
}

func (m *member) tolds() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told
}

// kill ends the process without a goodbye.
func (m *member) kill() {
	m.link.set(down)
	m.stop()
}

// join starts a member that runs until it is stopped, or the test ends.
func join(t testing.TB, s *apiServer, identity string, change func(*Config)) *member {
	t.Helper()
	l := &link{server: s}
	c := Config{Leases: client(t, l), Identity: identity, Group: group, Log: testLog(t)}
	if change != nil {
		change(&c)
	}
	members, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Members: members, link: l}
	run(t, m)
	return m
}

func run(t testing.TB, m *member) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.told++
		})
	}()
	m.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(m.stop)
}

// pass lets virtual time pass, and all that is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// keys are repositories.
func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("https://git.example/team-%d/shop-%d.git", i%7, i)
	}
	return all
}

// owned is how many of the keys a member owns.
func owned(m *member, keys []string) int {
	n := 0
	for _, key := range keys {
		if m.Owns(key) {
			n++
		}
	}
	return n
}

// testLog sends log lines to the test's own output.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
