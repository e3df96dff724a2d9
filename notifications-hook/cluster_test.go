package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// cluster is as much of a Kubernetes API server as the program asks: the
// Applications, and one Pod of each. Every Application has synced what it points
// at.
type cluster struct {
	t   testing.TB
	url string
	// image is what manifests name, and digest what it is.
	image, digest string

	lists, others atomic.Int64 // requests for Applications, and others

	mu   sync.Mutex          // guards the rest
	apps map[string][]string // by pipeline
	seen map[string]time.Time
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, apps: map[string][]string{}, seen: map[string]time.Time{}}
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		server.CloseClientConnections() // a watch would not end
		server.Close()
	})
	c.url = server.URL
	return c
}

// kubeconfig writes the file that names the server.
func (c *cluster) kubeconfig(folder string) string {
	c.t.Helper()
	file := filepath.Join(folder, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"test","contexts":[{"name":"test","context":{"cluster":"test","user":"ada"}}],`+
		`"clusters":[{"name":"test","cluster":{"server":%q}}],"users":[{"name":"ada","user":{}}]}`, c.url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

// set lets Argo CD follow a pipeline's refs.
func (c *cluster) set(p *pipeline) {
	c.t.Helper()
	refs := gitrepotest.MustRefs(c.t, p.repo)
	var apps []string
	for _, environment := range fleetEnvironments {
		target := "main"
		revision := refs["refs/heads/main"]
		if environment != "dev" {
			target = p.entry(c.t, environment).Snapshot.Ref()
			revision = refs[target]
		}
		for _, application := range fleetApplications {
			apps = append(apps, c.application(p, environment, application, target, revision))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps[p.name] = apps
}

// application is the object. What it was first seen with, it has synced then.
func (c *cluster) application(p *pipeline, environment, application, target string, revision gitrepo.Hash) string {
	name := p.name + "-" + environment + "-" + application
	c.mu.Lock()
	key := name + " " + string(revision)
	at, known := c.seen[key]
	if !known {
		at = time.Now()
		c.seen[key] = at
	}
	c.mu.Unlock()
	when := at.UTC().Format(time.RFC3339)
	labels := fmt.Sprintf(`"propagator.dev/pipeline":%q`, p.name)
	if environment != "dev" {
		labels += fmt.Sprintf(`,"propagator.dev/environment":%q,"propagator.dev/application":%q`, environment, application)
	}
	source := fmt.Sprintf(`{"repoURL":%q,"path":"envs/%s/%s","targetRevision":%q}`, p.url, environment, application, target)
	return fmt.Sprintf(`{"apiVersion":"argoproj.io/v1alpha1","kind":"Application","metadata":{"name":%[1]q,"namespace":"argocd","resourceVersion":"7","labels":{%[2]s}},`+
		`"spec":{"project":"default","source":%[3]s,"destination":{"name":"in-cluster","namespace":"%[6]s-%[7]s"},`+
		`"syncPolicy":{"automated":{"prune":true,"selfHeal":true},"syncOptions":["CreateNamespace=true"]}},`+
		`"status":{"sync":{"status":"Synced","revision":%[4]q,"comparedTo":{"source":%[3]s}},"health":{"status":"Healthy","lastTransitionTime":%[5]q},"reconciledAt":%[5]q,`+
		`"history":[{"id":1,"revision":%[4]q,"deployedAt":%[5]q,"source":%[3]s}],`+
		`"resources":[{"group":"apps","version":"v1","kind":"Deployment","namespace":"%[6]s-%[7]s","name":%[8]q,"status":"Synced","health":{"status":"Healthy"}}],`+
		`"operationState":{"operation":{"sync":{"revision":%[4]q},"initiatedBy":{"automated":true}},"phase":"Succeeded","startedAt":%[5]q,"finishedAt":%[5]q,`+
		`"syncResult":{"revision":%[4]q,"source":%[3]s}}}}`,
		name, labels, source, string(revision), when, p.name, environment, application)
}

// pods are those of a namespace, PIPELINE-ENVIRONMENT.
func (c *cluster) pods(namespace string) []string {
	_, environment, _ := strings.Cut(namespace, "-")
	repository, _, _ := strings.Cut(strings.Replace(c.image, "/dev/", "/"+environment+"/", 1), ":v1")
	image := repository + "@" + c.digest // as the snapshot has it
	if environment == "dev" {
		image = c.image
	}
	var pods []string
	for _, application := range fleetApplications {
		pods = append(pods, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%[1]s-7d9f-x","namespace":%[2]q,"creationTimestamp":"2026-01-01T00:00:00Z",`+
			`"labels":{"pod-template-hash":"7d9f"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"%[1]s-7d9f","uid":"1","controller":true}]},`+
			`"spec":{"containers":[{"name":"main","image":%[3]q}]},`+
			`"status":{"phase":"Running","containerStatuses":[{"name":"main","imageID":"%[4]s@%[5]s","state":{"running":{}}}]}}`,
			application, namespace, image, repository, c.digest))
	}
	return pods
}

// ServeHTTP implements http.Handler.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const applications, core = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications", "/api/v1/namespaces/"
	w.Header().Set("Content-Type", "application/json")
	answer := func(kind, version string, items []string) {
		_, _ = fmt.Fprintf(w, `{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":"7"},"items":[%s]}`, version, kind, strings.Join(items, ","))
	}
	namespace, pods := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, core), "/pods")
	switch {
	case r.Method != http.MethodGet:
		c.others.Add(1)
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.URL.Path == applications && r.URL.Query().Get("watch") != "":
		for _, app := range c.list("") {
			_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", app)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.URL.Path == applications:
		_, name, _ := strings.Cut(r.URL.Query().Get("labelSelector"), "=")
		answer("ApplicationList", "argoproj.io/v1alpha1", c.list(name))
		c.lists.Add(1)
	case pods:
		answer("PodList", "v1", c.pods(namespace))
		c.others.Add(1)
	default: // ApplicationSets
		answer("List", "argoproj.io/v1alpha1", nil)
		c.others.Add(1)
	}
}

// list are the Applications of a pipeline, or all.
func (c *cluster) list(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name != "" {
		return c.apps[name]
	}
	var all []string
	for _, apps := range c.apps {
		all = append(all, apps...)
	}
	slices.Sort(all)
	return all
}
