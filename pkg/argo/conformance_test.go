package argo_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pluginclient "github.com/argoproj/argo-cd/v2/cmpserver/apiclient"
	"github.com/argoproj/argo-cd/v2/util/app/discovery"
	argocmp "github.com/argoproj/argo-cd/v2/util/cmp"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fleeting-taas/propagator/cmp-sidecar/sidecar"
	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/render/pinned"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// These tests hold package cmp and the sidecar to the contract by way of Argo
// CD's own code: what repo-server links to talk to a plugin talks to our
// sidecar, and what its plugin server links to receive a repository receives
// one from us.

const (
	conformancePipeline = `apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.example/shop, retention: ephemeral}
  prod: {url: prod.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: prod, after: [dev], path: envs/prod, registry: prod}
`
	conformancePod = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: web, image: "dev.example/shop/web:1.2"}
`
	conformanceParameters = `ARGOCD_APP_PARAMETERS=[{"name":"environment","string":"prod"},{"name":"application","string":"web"},{"name":"snapshot","string":"shop/v1.4.0"}]`
)

// repository is the checkout of a snapshot as repo-server has it on disk.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "propagator.yaml", conformancePipeline)
	write(t, root, ".git/HEAD", "ref: refs/heads/main\n")
	write(t, root, "base/kustomization.yaml", "resources: [pod.yaml]\n")
	write(t, root, "base/pod.yaml", conformancePod)
	write(t, root, "envs/dev/web/pod.yaml", conformancePod)
	write(t, root, "envs/prod/web/kustomization.yaml", "namePrefix: prod-\nresources: [base]\n")
	if err := os.Symlink("../../../base", filepath.Join(root, "envs/prod/web/base")); err != nil {
		t.Fatal(err)
	}
	pipeline, err := config.Parse([]byte(conformancePipeline), "")
	if err != nil {
		t.Fatal(err)
	}
	lock := &snapshot.Lock{
		Version: snapshot.Version{Pipeline: "shop", Major: 1, Minor: 4},
		Source:  snapshot.Source{Repository: "https://git.example/shop.git", Branch: "main", Commit: strings.Repeat("c", 40)},
		Images: []snapshot.Image{{
			Requested: "dev.example/shop/web:1.2", Digest: "sha256:" + strings.Repeat("1", 64),
			MediaType: "application/vnd.oci.image.index.v1+json", Size: 500, UsedBy: []string{"prod/web"},
		}},
	}
	lock.Tools.Kustomize, lock.Tools.Helm = render.Versions()
	environment, _ := pipeline.Environment("prod")
	tree := os.DirFS(root)
	applications, err := render.Discover(tree, environment)
	if err != nil {
		t.Fatal(err)
	}
	for _, application := range applications {
		result, err := pinned.Render(t.Context(), pinned.Input{FS: tree, Pipeline: pipeline, Environment: "prod", Application: application, Lookup: lock.Lookup})
		if err != nil {
			t.Fatal(err)
		}
		lock.Renders = append(lock.Renders, snapshot.Render{Environment: "prod", Application: application.Name, Path: application.Path, SHA256: result.SHA256})
	}
	text, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, snapshot.LockFile, string(text))
	return root
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// socketDir is short: a socket's path has at most 107 characters.
func socketDir(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "cmp") //nolint:usetesting // t.TempDir can be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	return directory
}

// startSidecar serves our plugin where Argo CD's code in this process looks
// for plugins, and returns its socket.
func startSidecar(t *testing.T, change func(*sidecar.Options)) string {
	t.Helper()
	o := sidecar.DefaultOptions()
	o.SocketDir = socketDir(t)
	o.Service.OperatorListen = "127.0.0.1:0"
	if change != nil {
		change(&o)
	}
	t.Setenv("ARGOCD_PLUGINSOCKFILEPATH", o.SocketDir)
	server, err := sidecar.New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // outlives t.Context, which ends before the cleanup
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return server.Socket()
}

// detect finds the plugin as repo-server does for an Application that names it.
func detect(t *testing.T, root, appPath string) pluginclient.ConfigManagementPluginServiceClient {
	t.Helper()
	conn, client, err := discovery.DetectConfigManagementPlugin(t.Context(), appPath, root, "propagator", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client
}

// generateByArgo renders with Argo CD's client and sender.
func generateByArgo(t *testing.T, root, appPath string, env, exclude []string) ([]string, error) {
	t.Helper()
	stream, err := detect(t, root, appPath).GenerateManifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := argocmp.SendRepoStream(t.Context(), appPath, root, stream, env, exclude); err != nil {
		return nil, err
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	return response.GetManifests(), nil
}

func TestConformanceRender(t *testing.T) {
	socket := startSidecar(t, nil)
	root := repository(t)
	env := []string{conformanceParameters, "KUBE_VERSION=1.30.0", "KUBE_API_VERSIONS=v1,apps/v1", "EMPTY=", "dropped"}
	want := []string{`apiVersion: v1
kind: Pod
metadata:
  name: prod-web
spec:
  containers:
  - image: prod.example/shop/web@sha256:` + strings.Repeat("1", 64) + `
    name: web
`}
	for name, exclude := range map[string][]string{"all": nil, "without .git": {".git"}} {
		t.Run(name, func(t *testing.T) {
			got, err := generateByArgo(t, root, filepath.Join(root, "envs/prod/web"), env, exclude)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("by Argo CD's sender (-want +got):\n%s", diff)
			}
			conn, err := cmpwire.Dial(socket)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			ours, err := cmpwire.Generate(t.Context(), conn, os.DirFS(root), cmpwire.Metadata{AppPath: "envs/prod/web", Env: env}, cmpwire.SendOptions{Exclude: exclude})
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(got, ours); diff != "" {
				t.Errorf("by our sender (-argo +ours):\n%s", diff)
			}
		})
	}
}

func TestConformanceDetection(t *testing.T) {
	startSidecar(t, nil)
	root := repository(t)
	client := detect(t, root, root)
	configuration, err := client.CheckPluginConfiguration(t.Context(), &emptypb.Empty{})
	if err != nil || configuration.GetIsDiscoveryConfigured() || configuration.GetProvideGitCreds() {
		t.Errorf("configuration: %v %v", configuration, err)
	}
	// Applications of other teams, which name no plugin, are not ours.
	if _, _, err := discovery.DetectConfigManagementPlugin(t.Context(), root, root, "", nil, nil); err == nil {
		t.Error("the plugin claims an Application that does not name it")
	}
	match, err := client.MatchRepository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := argocmp.SendRepoStream(t.Context(), root, root, match, nil, nil); err != nil {
		t.Error(err)
	}
	matched, err := match.CloseAndRecv()
	if err != nil || !matched.GetIsSupported() || matched.GetIsDiscoveryEnabled() {
		t.Errorf("match: %v %v", matched, err)
	}
	announce, err := client.GetParametersAnnouncement(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := argocmp.SendRepoStream(t.Context(), root, root, announce, nil, nil); err != nil {
		t.Error(err)
	}
	announced, err := announce.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, parameter := range announced.GetParameterAnnouncements() {
		name := parameter.GetName()
		if parameter.GetRequired() {
			name += " (required)"
		}
		names = append(names, name)
	}
	if diff := gocmp.Diff([]string{"environment (required)", "application (required)", "snapshot", "renderer"}, names); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
}

// Our text reaches Argo CD's client whole, whatever goes wrong and however
// much it still has to send.
func TestConformanceErrors(t *testing.T) {
	startSidecar(t, func(o *sidecar.Options) { o.MaxCompressed, o.MaxKept = 4, 4 })
	root := repository(t)
	web := filepath.Join(root, "envs/prod/web")
	env := []string{conformanceParameters}

	_, err := generateByArgo(t, root, filepath.Join(root, "envs/dev/web"), env, nil)
	wantError(t, err, `snapshot shop/v1.4.0, prod/web: parameters do not fit the snapshot: the Application's path is "envs/dev/web", but that of web is envs/prod/web`)
	_, err = generateByArgo(t, root, web, nil, nil)
	wantError(t, err, "plugin parameter environment is missing")
	write(t, root, "base/pod.yaml", strings.Replace(conformancePod, "name: web}", "name: web, labels: {a: b}}", 1))
	_, err = generateByArgo(t, root, web, env, nil)
	wantError(t, err, "RENDER_DIFFERS")

	noise := make([]byte, 6<<20)
	seed := uint32(1)
	for i := range noise {
		seed = seed*1664525 + 1013904223
		noise[i] = byte(seed >> 24)
	}
	write(t, root, "noise", string(noise))
	_, err = generateByArgo(t, root, web, env, nil)
	wantError(t, err, "raise --max-compressed")

	stream, err := detect(t, root, web).GenerateManifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wrong := &pluginclient.AppStreamRequest{Request: &pluginclient.AppStreamRequest_Metadata{Metadata: &pluginclient.ManifestRequestMetadata{Checksum: "00"}}}
	chunk := &pluginclient.AppStreamRequest{Request: &pluginclient.AppStreamRequest_File{File: &pluginclient.File{Chunk: noise[:1024]}}}
	if err := stream.Send(wrong); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := stream.Send(chunk); err != nil {
			t.Fatalf("the server ended the call before everything was sent: %v", err)
		}
	}
	_, err = stream.CloseAndRecv()
	wantError(t, err, "checksum mismatch")
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v\nwant %s", err, text)
	}
}

// argoReceiver receives as argocd-cmp-server does and answers with what
// arrived.
type argoReceiver struct {
	pluginclient.UnimplementedConfigManagementPluginServiceServer
	directory string
}

func (r *argoReceiver) GenerateManifest(stream pluginclient.ConfigManagementPluginService_GenerateManifestServer) error {
	metadata, err := argocmp.ReceiveRepoStream(stream.Context(), stream, r.directory, false)
	if err != nil {
		return err
	}
	got := []string{"name " + metadata.GetAppName(), "path " + metadata.GetAppRelPath()}
	for _, entry := range metadata.GetEnv() {
		got = append(got, "env "+entry.GetName()+"="+entry.GetValue())
	}
	err = filepath.WalkDir(r.directory, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(r.directory, name)
		if err != nil {
			return err
		}
		if entry.Type() == fs.ModeSymlink {
			relative += " (link)"
		}
		got = append(got, relative)
		return nil
	})
	return errors.Join(err, stream.SendAndClose(&pluginclient.ManifestResponse{Manifests: got}))
}

func TestConformanceOfOurSender(t *testing.T) {
	root := repository(t)
	path := filepath.Join(socketDir(t), "argo.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pluginclient.RegisterConfigManagementPluginServiceServer(server, &argoReceiver{directory: t.TempDir()})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	conn, err := cmpwire.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got, err := cmpwire.Generate(t.Context(), conn, os.DirFS(root), cmpwire.Metadata{AppPath: "envs/prod/web", Env: []string{"A=1", "B="}}, cmpwire.SendOptions{Exclude: []string{".git"}, ChunkSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"name web", "path envs/prod/web", "env A=1", "env B=",
		".propagator/snapshot.yaml", "base/kustomization.yaml", "base/pod.yaml", "envs/dev/web/pod.yaml",
		"envs/prod/web/base (link)", "envs/prod/web/kustomization.yaml", "propagator.yaml",
	}
	slices.Sort(got[4:])
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
