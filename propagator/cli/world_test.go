package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/propagator/cli"
)

var update = flag.Bool("update", false, "write the golden files")

const mainBranch = gitrepo.Heads + "main"

// world is a repository and its registries, on loopback.
type world struct {
	t          *testing.T
	git        *gitrepotest.GitServer
	url        string
	repo       gitrepo.Repo
	registries map[string]*registrytest.Server // by environment
	endpoints  map[string]string
	// env is what the program sees.
	env        []string
	transcript bytes.Buffer
	names      map[string]string // what stands for ids in transcripts
	testdata   string            // absolute, since tests change the directory
}

// newWorld has a repository with nothing but a first commit, and images of the
// shop in the dev registry.
func newWorld(t *testing.T, middleware ...func(http.Handler) http.Handler) *world {
	t.Helper()
	// Whoever runs the tests must not lend them credentials.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	w := &world{t: t, git: gitrepotest.Server(t, githttp.Options{}, middleware...), registries: map[string]*registrytest.Server{}, endpoints: map[string]string{}, names: map[string]string{}}
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	w.testdata = testdata
	w.url = w.git.Init("shop.git")
	w.repo = openRepo(t, w.url)
	for _, name := range []string{"dev", "stage", "prod"} {
		w.registries[name] = registrytest.NewServer(t, registrytest.Options{Referrers: true})
		w.endpoints[name+".registry.example"] = w.registries[name].URL
	}
	w.endpoints["docker.io"] = w.registries["dev"].URL
	w.env = []string{"USER=ada", "PROPAGATOR_REPOSITORY=" + w.url, "PROPAGATOR_REGISTRY_ENDPOINT=" + joined(w.endpoints), "PROPAGATOR_REGISTRY_RETRIES=0"}
	w.image("dev.registry.example/shop", "orders", "1.0", true)
	w.image("dev.registry.example/shop", "web", "1.0", false)
	w.image("docker.io", "library/redis", "7", false)
	return w
}

func openRepo(t *testing.T, url string) gitrepo.Repo {
	t.Helper()
	repo, err := gitremote.Open(url, gitremote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func joined(endpoints map[string]string) string {
	var all []string
	for name, url := range endpoints {
		all = append(all, name+"="+url)
	}
	return strings.Join(all, ",")
}

// image pushes an image, signed or not.
func (w *world) image(name, repo, tag string, signed bool) {
	w.t.Helper()
	built, err := imagebuild.Index(imagebuild.Spec{
		Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}},
		Files:     imagebuild.Files{"app/version": repo + " " + tag},
		Labels:    map[string]string{imagebuild.LabelSource: "https://git.example/" + repo, imagebuild.LabelRevision: strings.Repeat("abcdef0123", 4)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if signed {
		built = built.Refer(imagebuild.Signature(built.Manifest.Descriptor(), "signed "+repo))
	}
	set := registryremote.Set{Endpoints: w.endpoints}
	target, err := set.Open(config.Registry{URL: name})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := imagebuild.Push(w.t.Context(), target, repo, built, tag); err != nil {
		w.t.Fatal(err)
	}
}

// pipeline is a propagator.yaml in which people promote.
func pipeline() string {
	text := string(config.Starter("shop", nil, nil))
	return strings.Replace(text, "promote: auto", "promote: manual", 1)
}

// shop is a repository of two applications in three environments.
func shop(configuration, ordersTag string) gitrepotest.Files {
	files := gitrepotest.Files{"propagator.yaml": configuration}
	for i, environment := range []string{"dev", "stage", "prod"} {
		files["envs/"+environment+"/orders/deployment.yaml"] = deployment("orders", i+1, "dev.registry.example/shop/orders:"+ordersTag)
		files["envs/"+environment+"/web/web.yaml"] = deployment("web", i+1, "dev.registry.example/shop/web:1.0", "redis:7")
	}
	return files
}

func deployment(name string, replicas int, images ...string) string {
	text := fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: %s\nspec:\n  replicas: %d\n  template:\n    spec:\n      containers:\n", name, replicas)
	for i, image := range images {
		text += fmt.Sprintf("      - name: c%d\n        image: %s\n", i, image)
	}
	return text
}

func (w *world) commit(files gitrepotest.Files) gitrepo.Hash {
	w.t.Helper()
	return gitrepotest.Grow(w.t, openRepo(w.t, w.url), mainBranch, files)
}

// result is what one run of the program gave.
type result struct {
	code           int
	stdout, stderr string
}

func (w *world) run(args ...string) result { return w.runIn(w.t.Context(), args...) }

func (w *world) runIn(ctx context.Context, args ...string) result {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Main(ctx, args, w.env, strings.NewReader(""), &stdout, &stderr)
	r := result{code, stdout.String(), stderr.String()}
	fmt.Fprintf(&w.transcript, "$ propagator %s\n%s%s", strings.Join(args, " "), r.stdout, r.stderr)
	if code != 0 {
		fmt.Fprintf(&w.transcript, "[exit %d]\n", code)
	}
	w.transcript.WriteByte('\n')
	return r
}

// must is run for what has to succeed.
func (w *world) must(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("propagator %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails is run for what must end with a code and a message that has the texts.
func (w *world) fails(code int, args []string, texts ...string) result {
	w.t.Helper()
	r := w.run(args...)
	if r.code != code {
		w.t.Errorf("propagator %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			w.t.Errorf("propagator %s: stderr lacks %q:\n%s", strings.Join(args, " "), text, r.stderr)
		}
	}
	if !strings.Contains("\n"+r.stderr, "\npropagator: ") || !strings.Contains(r.stderr, "\nhint: ") {
		w.t.Errorf("propagator %s: no message with a hint:\n%s", strings.Join(args, " "), r.stderr)
	}
	return r
}

// golden compares everything that was run so far with a file.
func (w *world) golden(name string) {
	w.t.Helper()
	got := w.normal(w.transcript.String())
	path := filepath.Join(w.testdata, name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		w.t.Errorf("%s (-want +got); -update writes it:\n%s", path, diff)
	}
}

var (
	digestText  = regexp.MustCompile(`sha256:[0-9a-f]{12,64}`)
	commitText  = regexp.MustCompile(`\b([0-9a-f]{40}|[0-9a-f]{7})\b`)
	stampText   = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\dZ)?`)
	ageText     = regexp.MustCompile(`\b\d{3,}d\b`) // of commits from back then
	minutesText = regexp.MustCompile(`\b\d{1,3}m( +)`)
	daysText    = regexp.MustCompile(`\b\d{3,} days\b`)
	addressText = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// normal replaces what differs from run to run by names of the same length, so
// that columns stay where they are. Equal things get equal names.
func (w *world) normal(text string) string {
	name := func(kind, id string, length int) string {
		key := kind + id
		if w.names[key] == "" {
			n := 0
			for known := range w.names {
				if strings.HasPrefix(known, kind) {
					n++
				}
			}
			w.names[key] = fmt.Sprint(n + 1)
		}
		return fmt.Sprintf("%s%0*s", kind, max(length-len(kind), 1), w.names[key])
	}
	text = digestText.ReplaceAllStringFunc(text, func(s string) string { return "sha256:" + name("digest-", s[:19], 12) })
	text = commitText.ReplaceAllStringFunc(text, func(s string) string { return name("c", s[:7], 7) })
	text = stampText.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "2023-11-14") {
			return s // the commits of the tests are from then
		}
		return "YYYY-MM-DD HH:MM"
	})
	// Minutes are how long the test takes.
	text = minutesText.ReplaceAllStringFunc(text, func(s string) string { return fmt.Sprintf("%-*s", len(s), "5m") })
	text = daysText.ReplaceAllString(ageText.ReplaceAllString(text, "NNNNd"), "NNNN days")
	return addressText.ReplaceAllString(text, "127.0.0.1:PORT")
}

// cluster is an Argo CD in which everything that should be deployed is.
type cluster struct{ applications []promotion.Application }

func (c *cluster) List(context.Context, string) ([]promotion.Application, error) {
	return c.applications, nil
}

func (c *cluster) Poke(context.Context, string) error { return nil }

func (c *cluster) Refresh(context.Context, promotion.Application, bool) error { return nil }

func (c *cluster) Terminate(context.Context, promotion.Application, gitrepo.Hash) error { return nil }

// deployed lets Argo CD deploy what the environments point at, and the engine
// record it, as the hook would.
func (w *world) deployed() {
	w.t.Helper()
	engine := &promotion.Engine{Repo: openRepo(w.t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Actor: "propagator"}
	engine.Applications = &cluster{w.applications(engine)}
	done, err := engine.Reconcile(w.t.Context())
	if err != nil || len(done.Done) == 0 {
		w.t.Fatalf("nothing was recorded: %v %v", done, err)
	}
}

// applications are those of an Argo CD that has deployed what the environments
// point at.
func (w *world) applications(engine *promotion.Engine) []promotion.Application {
	w.t.Helper()
	state, err := engine.Observe(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return clusterOf(state).applications
}

// clusterOf has deployed what the environments point at.
func clusterOf(state *promotion.State) *cluster {
	c := &cluster{}
	for _, e := range state.Environments {
		for _, target := range e.Targets {
			c.applications = append(c.applications, promotion.Application{
				Name: "shop-" + e.Name + "-" + target.Application, Environment: e.Name, Application: target.Application,
				Path: target.Path, TargetRevision: e.Current().Snapshot.String(), Cluster: target.Destination.Cluster,
				DestNamespace: target.Destination.Namespace, Phase: "Succeeded", FinishedAt: state.Now, SyncedRevision: e.Snapshot.ID,
				SyncedTarget: e.Current().Snapshot.String(), SyncStatus: "Synced", ComparedRevision: e.Snapshot.ID,
				ReconciledAt: state.Now, Health: "Healthy",
			})
		}
	}
	return c
}

// approve is what people do.
func (w *world) approve(version string) {
	w.t.Helper()
	w.git.Git("shop.git", "tag", "-a", "-m", "fine", "approve/prod/"+version+"/grace", version)
}

// writes counts requests that change a registry, since the last call.
func (w *world) writes() int {
	n := 0
	for _, server := range w.registries {
		for _, request := range server.Requests() {
			if method, _, _ := strings.Cut(request, " "); method != http.MethodGet && method != http.MethodHead {
				n++
			}
		}
	}
	return n
}
