package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/fleeting-taas/propagator/applicationset-generator/generator"
	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// argoCD plays Argo CD: an ApplicationSet with the plugin generator, the
// application controller with repo-server, and the notifications controller.
// It keeps to the contracts of the real one: plugin generator over HTTP, config
// management plugin over gRPC, notification webhook over HTTP.
type argoCD struct {
	repo     gitrepo.Repo
	branch   string
	pipeline string
	token    string
	// generatorURL and hookURL are the programs' addresses.
	generatorURL string
	hookURL      string
	plugin       *grpc.ClientConn
	kubelet      *kubelet
	now          func() time.Time

	poked chan struct{}

	mu           sync.Mutex // guards the fields below
	applications map[string]*application
	faults       []error
	// sick is the environment whose Applications do not become healthy.
	sick string
	// silent: no notification is sent.
	silent bool
}

// application is an Application and what it last applied.
type application struct {
	status    promotion.Application
	set       generator.Set
	manifests []string
	images    []string
}

var _ promotion.Applications = (*argoCD)(nil)

// List implements promotion.Applications, as the Kubernetes API would.
func (a *argoCD) List(context.Context, string) ([]promotion.Application, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]promotion.Application, 0, len(a.applications))
	for _, app := range a.applications {
		list = append(list, app.status)
	}
	slices.SortFunc(list, func(x, y promotion.Application) int { return strings.Compare(x.Name, y.Name) })
	return list, nil
}

// Poke implements promotion.Applications: the refresh annotation changed.
func (a *argoCD) Poke(context.Context, string) error {
	select {
	case a.poked <- struct{}{}:
	default: // one is waiting already
	}
	return nil
}

// Refresh implements promotion.Applications. There is nothing to refresh: what
// cannot be rendered ends the demo.
func (a *argoCD) Refresh(context.Context, promotion.Application, bool) error { return nil }

// Terminate implements promotion.Applications. No operation is tried again here.
func (a *argoCD) Terminate(context.Context, promotion.Application, gitrepo.Hash) error { return nil }

// set changes how Argo CD behaves from now on.
func (a *argoCD) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// run is the ApplicationSet controller's loop.
func (a *argoCD) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.poked:
		}
		if err := a.generate(ctx); err != nil && ctx.Err() == nil {
			a.fault(err)
		}
	}
}

func (a *argoCD) fault(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, err)
}

// fault returns what went wrong in the background, if anything.
func (a *argoCD) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.faults) == 0 {
		return nil
	}
	return a.faults[0]
}

// generate asks the plugin generator, and creates or updates Applications. It
// deletes none: the ApplicationSet says create-update.
func (a *argoCD) generate(ctx context.Context) error {
	body, err := json.Marshal(map[string]any{
		"applicationSetName": a.pipeline,
		"input":              map[string]any{"parameters": map[string]any{"pipeline": a.pipeline}},
	})
	if err != nil {
		return err
	}
	answer, err := a.post(ctx, a.generatorURL+"/api/v1/getparams.execute", body, http.StatusOK)
	if err != nil {
		return fmt.Errorf("applicationset-generator: %w", err)
	}
	var response struct {
		Output struct {
			Parameters []generator.Set `json:"parameters"`
		} `json:"output"`
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		return fmt.Errorf("applicationset-generator: %w", err)
	}
	for _, set := range response.Output.Parameters {
		a.mu.Lock()
		known, ok := a.applications[set.Name]
		a.mu.Unlock()
		if ok && known.set == set {
			continue
		}
		if err := a.sync(ctx, set); err != nil {
			return fmt.Errorf("application %s: %w", set.Name, err)
		}
	}
	return nil
}

// sync renders one Application through the plugin, applies it and notifies.
func (a *argoCD) sync(ctx context.Context, set generator.Set) error {
	revision := gitrepo.Hash(set.Revision)
	tree, err := a.checkout(ctx, revision)
	if err != nil {
		return err
	}
	parameters, err := json.Marshal([]map[string]string{
		{"name": "environment", "string": set.Environment},
		{"name": "application", "string": set.Application},
		{"name": "snapshot", "string": set.Snapshot},
		{"name": "renderer", "string": set.Renderer},
	})
	if err != nil {
		return err
	}
	manifests, err := cmpwire.Generate(ctx, a.plugin, tree, cmpwire.Metadata{
		AppName: path.Base(set.Path),
		AppPath: set.Path,
		Env: []string{
			"ARGOCD_APP_NAME=" + set.Name,
			"ARGOCD_APP_NAMESPACE=" + set.Namespace,
			"ARGOCD_APP_REVISION=" + set.Revision,
			"ARGOCD_APP_SOURCE_REPO_URL=" + set.RepoURL,
			"ARGOCD_APP_SOURCE_PATH=" + set.Path,
			"ARGOCD_APP_SOURCE_TARGET_REVISION=" + set.Tag,
			"KUBE_VERSION=1.33.1",
			"KUBE_API_VERSIONS=v1,apps/v1,batch/v1",
			"ARGOCD_APP_PARAMETERS=" + string(parameters),
		},
	}, cmpwire.SendOptions{})
	if err != nil {
		return fmt.Errorf("cmp-sidecar: %w", err)
	}
	app := &application{set: set, manifests: manifests, status: promotion.Application{
		Namespace: "argocd", Name: set.Name, Environment: set.Environment, Application: set.Application,
		RepoURL: set.RepoURL, Path: set.Path, TargetRevision: set.Tag, SyncedTarget: set.Tag,
		Cluster: set.Cluster.Name, Server: set.Cluster.Server, DestNamespace: set.Namespace,
	}}
	return a.apply(ctx, app, revision)
}

// syncFirst deploys the first environment from the source branch, as Argo CD
// does without any plugin.
func (a *argoCD) syncFirst(ctx context.Context, pipeline *config.Pipeline) error {
	refs, err := a.repo.Refs(ctx)
	if err != nil {
		return err
	}
	revision := refs[gitrepo.Heads+a.branch]
	tree, err := a.checkout(ctx, revision)
	if err != nil {
		return err
	}
	first := pipeline.First()
	applications, err := render.Discover(tree, first)
	if err != nil {
		return err
	}
	for _, application := range applications {
		out, err := render.Render(ctx, render.Input{
			FS: tree, Application: application, Namespace: first.Destinations[0].Namespace, Capabilities: first.Capabilities, Images: pipeline.Images,
		})
		if err != nil {
			return err
		}
		manifests, err := render.Documents(out.YAML)
		if err != nil {
			return err
		}
		name := first.Name + "-" + application.Name
		if err := a.apply(ctx, newFirst(a, first, name, application, manifests), revision); err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
	}
	return nil
}

func newFirst(a *argoCD, first config.Environment, name string, app config.Application, manifests []string) *application {
	return &application{manifests: manifests, status: promotion.Application{
		Namespace: "argocd", Name: name, RepoURL: a.repo.URL(), Path: app.Path, TargetRevision: a.branch, SyncedTarget: a.branch,
		Cluster: first.Destinations[0].Cluster, DestNamespace: first.Destinations[0].Namespace,
	}}
}

// apply lets the node pull every image of the manifests and reports the
// Application's state.
func (a *argoCD) apply(ctx context.Context, app *application, revision gitrepo.Hash) error {
	images, err := imagesOf(app.manifests)
	if err != nil {
		return err
	}
	app.images = images
	s := &app.status
	s.Phase, s.SyncStatus, s.Health = "Succeeded", "Synced", "Healthy"
	s.SyncedRevision, s.ComparedRevision = revision, revision
	s.FinishedAt = a.now().UTC().Truncate(time.Second)
	s.HealthSince, s.ReconciledAt = s.FinishedAt, s.FinishedAt
	for _, image := range images {
		if err := a.kubelet.pull(ctx, image); err != nil {
			s.Health = "Degraded"
			a.fault(fmt.Errorf("application %s: ImagePullBackOff: %s: %w", s.Name, image, err))
		}
	}
	a.mu.Lock()
	if a.sick != "" && s.Environment == a.sick {
		s.Health, s.HealthMessage = "Degraded", "its Deployment exceeded its progress deadline"
	}
	a.applications[s.Name] = app
	silent := a.silent
	a.mu.Unlock()
	if silent {
		return nil
	}
	return a.notify(ctx, *s)
}

// notify sends what the template of the notifications configuration makes.
func (a *argoCD) notify(ctx context.Context, s promotion.Application) error {
	body, err := json.Marshal(hook.Event{
		Application: s.Name,
		Namespace:   s.Namespace,
		Pipeline:    a.pipeline,
		RepoURL:     s.RepoURL,
		Phase:       s.Phase,
		Revision:    string(s.SyncedRevision),
		FinishedAt:  s.FinishedAt.Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	if _, err := a.post(ctx, a.hookURL+"/api/v1/argocd", body, http.StatusAccepted); err != nil {
		return fmt.Errorf("notifications-hook: %w", err)
	}
	return nil
}

func (a *argoCD) post(ctx context.Context, url string, body []byte, want int) ([]byte, error) {
	return a.ask(ctx, http.MethodPost, url, body, want)
}

func (a *argoCD) ask(ctx context.Context, method, url string, body []byte, want int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+a.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode != want {
		err = fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(answer)))
	}
	return answer, err
}

// checkout gives the tree of a commit, as repo-server's checkout does.
func (a *argoCD) checkout(ctx context.Context, commit gitrepo.Hash) (fs.FS, error) {
	if err := a.repo.Fetch(ctx, []gitrepo.Hash{commit}, gitrepo.FetchOptions{Depth: 1}); err != nil {
		return nil, err
	}
	c, err := gitrepo.ReadCommit(a.repo, commit)
	if err != nil {
		return nil, err
	}
	return gitrepo.TreeFS(a.repo, c.Tree), nil
}

// running lists the images that an environment's Applications run, by
// Application, when all of them are at the version; nil otherwise.
func (a *argoCD) running(environment string, version snapshot.Version) map[string][]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	images := map[string][]string{}
	for _, app := range a.applications {
		if app.status.Environment != environment {
			continue
		}
		if app.set.Snapshot != version.String() || app.status.Health != "Healthy" {
			return nil
		}
		images[app.status.Application] = app.images
	}
	return images
}

// manifestsOf returns everything an environment runs; the first one's
// Applications carry no environment's name.
func (a *argoCD) manifestsOf(environment string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, app := range a.applications {
		if app.status.Environment == environment {
			all = append(all, app.manifests...)
		}
	}
	return all
}
