package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

const fleetToken = "fleet-token-0123456789"

// maxGit is how many git processes the server runs at once; the other requests
// wait, as those of a git host do.
const maxGit = 16

// patience bounds waiting for the program.
const patience = 5 * time.Minute

// fleet is the program as a process of its own, with many pipelines, and all that
// it talks to.
type fleet struct {
	t testing.TB
	// git counts; aside serves the same repositories without.
	git      *gitrepotest.GitServer
	aside    string
	registry *registrytest.Server
	cluster  *cluster
	folder   string

	refs, other atomic.Int64 // requests for a list of refs, and others
	pipelines   []*pipeline

	process int
	url     string
}

// cost is what something cost: requests, and the program's processor time.
type cost struct {
	refs, git, registry, lists, kube int64
	processor                        time.Duration
}

func (c cost) plus(d cost) cost {
	return cost{c.refs + d.refs, c.git + d.git, c.registry + d.registry, c.lists + d.lists, c.kube + d.kube, c.processor + d.processor}
}

func newFleet(t testing.TB, count int) *fleet {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("what a process uses is read from /proc")
	}
	f := &fleet{t: t, registry: registrytest.NewServer(t, registrytest.Options{Referrers: true}), folder: t.TempDir()}
	running := make(chan struct{}, maxGit)
	f.git = gitrepotest.Server(t, githttp.Options{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running <- struct{}{}
			defer func() { <-running }()
			// What a request is about is in its body.
			begin, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(begin), r.Body), r.Body}
			next.ServeHTTP(w, r)
			if bytes.Contains(begin, []byte("command=ls-refs")) {
				f.refs.Add(1)
			} else {
				f.other.Add(1)
			}
		})
	})
	aside := httptest.NewServer(f.git.Handler)
	t.Cleanup(aside.Close)
	f.aside = aside.URL
	f.git.Init("template.git")
	f.cluster = newCluster(t)
	builder := f.newBuilder()
	for i := range count {
		p := builder.build(fmt.Sprintf("shop%04d", i))
		f.pipelines = append(f.pipelines, p)
		f.cluster.set(p)
	}
	return f
}

// start runs the program and waits for its first look at every pipeline.
func (f *fleet) start() {
	f.t.Helper()
	var urls []string
	for _, p := range f.pipelines {
		urls = append(urls, p.url)
	}
	cmd := exec.CommandContext(context.WithoutCancel(f.t.Context()), f.program(), "--listen", "127.0.0.1:0", //nolint:gosec // this program
		"--kubeconfig", f.cluster.kubeconfig(f.folder), "--interval", "1h")
	// It is stopped below, in peace.
	cmd.Env = append(os.Environ(), variableProgram+"=1", "DOCKER_CONFIG="+f.folder, "PROPAGATOR_TOKEN="+fleetToken,
		"PROPAGATOR_REPOSITORY="+strings.Join(urls, ","), "PROPAGATOR_LOG_LEVEL=info", "GOMEMLIMIT=920MiB")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.process = cmd.Process.Pid
	drained := make(chan struct{})
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-drained
		if err := cmd.Wait(); err != nil {
			f.t.Error(err)
		}
	})
	lines := bufio.NewScanner(stderr)
	for f.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			f.url = "http://" + line.Address
		} else {
			f.t.Log(lines.Text())
		}
	}
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, stderr) // ends when the program does
	}()
	if f.url == "" {
		f.t.Fatal("the program does not serve")
	}
	f.until("a look at every pipeline", func() bool {
		if len(f.status()) < len(f.pipelines) {
			time.Sleep(500 * time.Millisecond) // it has a processor to share
			return false
		}
		return true
	})
	for _, status := range f.status() {
		if status.Error != "" || len(status.Done) > 0 {
			f.t.Fatalf("the first look at %s: %+v", status.Repository, status)
		}
	}
	f.rest()
}

// program is this test, or to measure it what the container image has.
func (f *fleet) program() string {
	f.t.Helper()
	if _, measured := f.t.(*testing.B); !measured {
		program, err := os.Executable()
		if err != nil {
			f.t.Fatal(err)
		}
		return program
	}
	program := filepath.Join(f.folder, "notifications-hook")
	build := exec.CommandContext(f.t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".") //nolint:gosec // a folder of the test
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		f.t.Fatalf("go build: %v\n%s", err, output)
	}
	return program
}

type status struct {
	Repository, Error string
	Done              []any
}

func (f *fleet) status() []status {
	f.t.Helper()
	var all []status
	if err := json.Unmarshal(f.send(http.MethodGet, "/api/v1/status", ""), &all); err != nil {
		f.t.Fatal(err)
	}
	return all
}

func (f *fleet) send(method, path, body string) []byte {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+fleetToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		f.t.Fatalf("%s %s: %s %v", method, path, response.Status, err)
	}
	return answer
}

// tick makes the program look at every pipeline, and waits until it has.
func (f *fleet) tick() cost {
	f.t.Helper()
	f.registry.Requests()
	before := cost{refs: f.refs.Load(), git: f.other.Load(), lists: f.cluster.lists.Load(), kube: f.cluster.others.Load(), processor: f.processor()}
	f.send(http.MethodPost, "/api/v1/wake", "")
	all := int64(len(f.pipelines))
	f.until("a look at every pipeline", func() bool {
		return f.refs.Load() >= before.refs+all && f.cluster.lists.Load() >= before.lists+all
	})
	f.rest()
	return cost{
		refs: f.refs.Load() - before.refs, git: f.other.Load() - before.git, registry: int64(len(f.registry.Requests())),
		lists: f.cluster.lists.Load() - before.lists, kube: f.cluster.others.Load() - before.kube, processor: f.processor() - before.processor,
	}
}

// notifyDuringTick makes the program look at every pipeline, and measures how long
// it takes to answer notifications for one of them meanwhile.
func (f *fleet) notifyDuringTick() []time.Duration {
	f.t.Helper()
	before, all := f.refs.Load(), int64(len(f.pipelines))
	f.send(http.MethodPost, "/api/v1/wake", "")
	var took []time.Duration
	f.until("a look at every pipeline", func() bool {
		begin := time.Now()
		f.notify(f.pipelines[0])
		took = append(took, time.Since(begin))
		return f.refs.Load() >= before+all
	})
	f.rest()
	return took
}

// notify sends what Argo CD sends after a sync.
func (f *fleet) notify(p *pipeline) {
	f.t.Helper()
	f.send(http.MethodPost, "/api/v1/argocd", fmt.Sprintf(`{"pipeline":%q,"repoURL":%q,"phase":"Succeeded"}`, p.name, p.url))
}

// rest waits until the program does nothing: it has used no processor time, and
// asked for nothing, for a while.
func (f *fleet) rest() {
	f.t.Helper()
	const still = 10
	last, same := time.Duration(-1), 0
	f.until("rest", func() bool {
		now := f.processor() + time.Duration(f.refs.Load()+f.other.Load()+f.cluster.lists.Load())
		if now != last {
			last, same = now, 0
		} else {
			same++
		}
		time.Sleep(50 * time.Millisecond)
		return same >= still
	})
}

func (f *fleet) until(what string, condition func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// release pushes a commit to some pipelines and lets Argo CD follow, until Prod
// is proven to run it.
func (f *fleet) release(count int) {
	f.t.Helper()
	moving := f.pipelines[:count]
	for _, p := range moving {
		f.follow(p)
		gitrepotest.Grow(f.t, p.repo, "refs/heads/main", gitrepotest.Files{"note": time.Now().String()})
	}
	for deadline := time.Now().Add(patience); len(moving) > 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%d pipelines are not in Prod after %s; the first: %+v", len(moving), patience, f.status()[0])
		}
		var next []*pipeline
		for _, p := range moving {
			f.cluster.set(p)
			f.notify(p)
			if !p.done(f.t) {
				next = append(next, p)
			}
		}
		moving = next
	}
	f.rest()
}

// processor is the time that the program has used, in user and kernel mode
// (fields 14 and 15 of /proc/PID/stat, in hundredths of a second).
func (f *fleet) processor() time.Duration {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(f.process), "stat"))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // behind the name
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			f.t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100
}

// memory reads one of the sizes in /proc/PID/status, in MiB.
func (f *fleet) memory(name string) float64 {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(f.process), "status"))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), name+":")
	kilobytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return kilobytes / 1024
}
