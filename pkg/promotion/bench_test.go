package promotion

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// benchShop is a pipeline on a real git server over http, with as many
// applications as asked for. Registries are in memory: what is measured here
// is git and rendering; pkg/mirror measures registries.
type benchShop struct {
	server     *gitrepotest.GitServer
	url        string
	trips      atomic.Int64
	received   atomic.Int64
	sent       atomic.Int64
	aside      atomic.Bool // what is done now is not measured
	registries map[string]registry.Registry
	clock      time.Time
}

func (s *benchShop) Open(r config.Registry) (registry.Registry, error) {
	return s.registries[r.Name], nil
}

func (s *benchShop) Upstream(host, _ string) (registry.Reader, error) {
	return nil, fmt.Errorf("no upstream %s", host)
}

// repo opens a client that has fetched nothing.
func (s *benchShop) repo(b *testing.B) gitrepo.Repo { return s.open(b, remote.Options{}) }

// counted opens one whose round trips are counted.
func (s *benchShop) counted(b *testing.B) gitrepo.Repo {
	return s.open(b, remote.Options{OnRoundTrip: func(r remote.RoundTrip) {
		if s.aside.Load() {
			return
		}
		s.trips.Add(1)
		s.received.Add(r.BytesReceived)
		s.sent.Add(r.BytesSent)
	}})
}

func (s *benchShop) open(b *testing.B, options remote.Options) gitrepo.Repo {
	b.Helper()
	repo, err := remote.Open(s.url, options)
	if err != nil {
		b.Fatal(err)
	}
	return repo
}

func (s *benchShop) engine(repo gitrepo.Repo) *Engine {
	return &Engine{Repo: repo, Registries: s, Actor: "bench", Now: func() time.Time { return s.clock }}
}

func (s *benchShop) report(b *testing.B) {
	b.ReportMetric(float64(s.trips.Load())/float64(b.N), "roundtrips/op")
	b.ReportMetric(float64(s.received.Load())/float64(b.N), "recvB/op")
	b.ReportMetric(float64(s.sent.Load())/float64(b.N), "sentB/op")
}

func (s *benchShop) reset() {
	s.trips.Store(0)
	s.received.Store(0)
	s.sent.Store(0)
}

// benchRepository is the name of its repository on the server.
const benchRepository = "shop.git"

func newBenchShop(b *testing.B, applications, snapshots int) *benchShop {
	b.Helper()
	server := gitrepotest.Server(b, githttp.Options{})
	server.Init(benchRepository)
	s := growBenchShop(b, server, applications)
	people := s.repo(b)
	for i := range snapshots {
		gitrepotest.Grow(b, people, "refs/heads/main", gitrepotest.Files{"note": fmt.Sprint(i)})
		s.capture(b, people, snapshot.Version{})
	}
	return s
}

// growBenchShop adds the pipeline to whatever its repository holds.
func growBenchShop(b *testing.B, server *gitrepotest.GitServer, applications int) *benchShop {
	b.Helper()
	s := &benchShop{server: server, url: server.URL + "/" + benchRepository, registries: map[string]registry.Registry{}, clock: time.Unix(1_780_000_000, 0)}
	for _, name := range []string{"dev", "stage", "prod"} {
		s.registries[name] = registry.NewMemory(name + ".example/shop")
	}
	files := gitrepotest.Files{config.File: manualProd}
	for i := range applications {
		name := fmt.Sprintf("app%03d", i)
		image := registrytest.MustIndex(b, imagebuild.Spec{Platforms: registrytest.TwoPlatforms(), Files: imagebuild.Files{"app": name}})
		registrytest.MustPush(b, s.registries["dev"], name, image, "v1")
		for _, env := range []string{"dev", "stage", "prod"} {
			files["envs/"+env+"/"+name+"/deployment.yaml"] = deployment(name, "dev.example/shop/"+name+":v1")
		}
	}
	gitrepotest.Grow(b, s.repo(b), "refs/heads/main", files)
	return s
}

// capture makes a snapshot by hand, which enters stage right away. The zero
// version is the next one.
func (s *benchShop) capture(b *testing.B, repo gitrepo.Repo, version snapshot.Version) {
	b.Helper()
	e := s.engine(repo)
	state := s.observe(b, e)
	step, err := PlanCapture(state, state.SourceTip, version)
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Execute(b.Context(), state, step); err != nil {
		b.Fatal(err)
	}
}

func (s *benchShop) observe(b *testing.B, e *Engine) *State {
	b.Helper()
	state, err := e.Observe(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return state
}

// BenchmarkCapture renders every application of three environments, resolves
// every image, mirrors into Stage (in memory; there is nothing to copy after
// the first time) and pushes tag and branch over http, with a client that
// starts empty.
func BenchmarkCapture(b *testing.B) {
	for _, applications := range []int{5, 50} {
		b.Run(fmt.Sprintf("applications=%d", applications), func(b *testing.B) {
			s := newBenchShop(b, applications, 1)
			people := s.repo(b)
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				gitrepotest.Grow(b, people, "refs/heads/main", gitrepotest.Files{"note": fmt.Sprint("bench", n)})
				b.StartTimer()
				s.capture(b, s.counted(b), snapshot.Version{})
			}
			s.report(b)
		})
	}
}

// BenchmarkIdle is a look at a pipeline that has nothing to do, with a client
// that looked before: the cost of a tick.
func BenchmarkIdle(b *testing.B) {
	s := newBenchShop(b, 5, 2)
	e := s.engine(s.counted(b))
	s.observe(b, e)
	s.reset()
	for b.Loop() {
		if d := Plan(s.observe(b, e)); len(d.Steps) > 0 {
			b.Fatal(d.Steps)
		}
	}
	s.report(b)
}

// BenchmarkCompose makes the patch of ten hotfixes for a pipeline of fifty
// applications, up to its push, by a client that has looked before: the fixes are
// merged, everything is rendered, and no image is asked for, because none is new.
func BenchmarkCompose(b *testing.B) {
	s := newBenchShop(b, 50, 1)
	people := s.repo(b)
	refs := gitrepotest.MustRefs(b, people)
	stage := refs["refs/heads/environments/stage"]
	gitrepotest.MustFetch(b, people, gitrepo.FetchOptions{Depth: 1}, stage)
	for i := range 10 {
		name := fmt.Sprintf("app%03d", i)
		files := gitrepotest.Files{"envs/stage/" + name + "/deployment.yaml": deployment(name, "dev.example/shop/"+name+":v1") + "      hostNetwork: false\n"}
		id, objects := gitrepotest.Commit(b, people, files, "fix", stage)
		gitrepotest.MustPush(b, people, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{{Ref: "refs/heads/hotfix/" + name, New: id}}})
	}
	for _, warm := range []bool{false, true} {
		b.Run(fmt.Sprintf("warm=%t", warm), func(b *testing.B) {
			e := s.engine(s.counted(b))
			state := s.observe(b, e)
			steps, err := PlanCompose(state)
			if err != nil || len(steps) != 1 || len(steps[0].Hotfixes) != 10 {
				b.Fatal(steps, err)
			}
			s.reset()
			for b.Loop() {
				if !warm {
					e = s.engine(s.counted(b))
					state = s.observe(b, e)
				}
				if _, err := e.prepareComposition(b.Context(), state, steps[0]); err != nil {
					b.Fatal(err)
				}
			}
			s.report(b)
		})
	}
}
