package workload

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pretend is a machine on which container port n is local port 2n.
func pretend() local {
	return local{
		volume:  func(name string) string { return "/v/" + name },
		private: "/private",
		port:    func(number int) (int, error) { return 2 * number, nil },
		forward: func(address string) (string, error) {
			return "127.0.0.1:" + address[strings.Index(address, ":")+1:] + "0", nil
		},
		kubeconfig: "/kubeconfig",
		env:        []string{"HTTP_PROXY=http://proxy"},
	}
}

// hook is a container like the hook's.
func hook(change func(*Container)) *Container {
	c := &Container{
		Image: "ghcr.io/example/hook:v1@sha256:" + strings.Repeat("0", 64), Name: "hook", Pod: "hook-0",
		Ports: []Port{{"http", 8080}},
		Mounts: []Mount{
			{Path: "/etc/token", Volume: "token"}, {Path: "/home", Volume: "home"}, {Path: "/home/inner", Volume: "inner", SubPath: "sub"},
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

func hookImage() *Image {
	return &Image{
		Name: "hook", Entrypoint: []string{"/bin/hook"}, Path: "/bin", Home: "/home/me", Env: []string{"USER=me"},
		Programs: map[string]Program{
			"/bin/hook": {
				Path: "/local/hook", Kubeconfig: "KUBECONFIG", Env: []string{"LEVEL=info"},
				Listen: []Listen{
					{Setting: Setting{Flag: "--listen", Variable: "LISTEN", Default: ":8080"}},
					{Setting: Setting{Flag: "--operator", Variable: "OPERATOR"}},
				},
				Peers: []Setting{{Flag: "--redis", Variable: "REDIS", Default: "redis:6379"}},
				Paths: []Setting{{Variable: "SOCKETS", Default: "/home/inner/sockets"}},
				Free:  []string{"URL_PATH", "--prefix"},
			},
			"redis": {
				Path: "/local/redis", TwoWords: true,
				Listen: []Listen{{Setting: Setting{Flag: "--port", Default: "8080"}, Host: Setting{Flag: "--bind"}}},
			},
			"metrics": {
				Path:   "/local/metrics",
				Listen: []Listen{{Setting: Setting{Flag: "--port", Default: "8080"}, Host: Setting{Flag: noHost}}},
			},
		},
	}
}

func TestTranslate(t *testing.T) {
	env := func(cmd *command, names ...string) []string {
		var got []string
		for _, name := range names {
			i := slices.IndexFunc(cmd.env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
			if i < 0 {
				got = append(got, name+" unset")
			} else {
				got = append(got, cmd.env[i])
			}
		}
		return got
	}
	for _, tt := range []struct {
		name   string
		change func(*Container)
		check  func(*command) any
		want   any
	}{
		{
			"defaults become variables", nil,
			func(c *command) any {
				return []any{c.path, len(c.args), c.ports, c.first, c.dir, env(c, "LISTEN", "OPERATOR", "REDIS", "SOCKETS", "KUBECONFIG", "HTTP_PROXY", "USER", "LEVEL", "HOME", "HOSTNAME", "PATH", "TMPDIR")}
			},
			[]any{"/local/hook", 0, map[int]string{8080: "127.0.0.1:16160"}, 8080, "/private/root", []string{
				"LISTEN=127.0.0.1:16160", "OPERATOR unset", "REDIS=127.0.0.1:63790", "SOCKETS=/v/inner/sub/sockets", "KUBECONFIG=/kubeconfig",
				"HTTP_PROXY=http://proxy", "USER=me", "LEVEL=info", "HOME=/v/home/me", "HOSTNAME=hook-0", "PATH=/bin", "TMPDIR=/private/tmp",
			}},
		},
		{
			"flags stay flags", func(c *Container) {
				c.Command = []string{"/usr/bin/tini", "--", "/bin/hook"}
				c.Args = []string{"--listen=0.0.0.0:8080", "--operator", ":9090", "--redis", "cache:1", "--token=/etc/token/token", "/etc/token", "--prefix=/x", "--prefix", "/y"}
				c.Ports = append(c.Ports, Port{"metrics", 9090})
			},
			func(c *command) any { return []any{c.args, c.ports, env(c, "LISTEN", "REDIS")} },
			[]any{
				[]string{"--listen=127.0.0.1:16160", "--operator=127.0.0.1:18180", "--redis=127.0.0.1:10", "--token=/v/token/token", "/v/token", "--prefix=/x", "--prefix", "/y"},
				map[int]string{8080: "127.0.0.1:16160", 9090: "127.0.0.1:18180"},
				[]string{"LISTEN unset", "REDIS unset"},
			},
		},
		{
			"the container's variables win", func(c *Container) {
				c.Env = []Variable{
					{"OPERATOR", ":9090", false},
					{"LEVEL", "debug", false},
					{"TOKEN_FILE", "/etc/token/token", false},
					{"URL_PATH", "/x", false},
					{"ROOT", "/", false},
					// Looks like a path, and is none.
					{"PASSWORD", "/etc/passwd", true},
				}
				c.WorkingDir = "/home/inner"
				c.ReadOnlyRoot = true
			},
			func(c *command) any {
				return []any{c.ports, c.dir, env(c, "OPERATOR", "LEVEL", "TOKEN_FILE", "URL_PATH", "ROOT", "PASSWORD", "TMPDIR")}
			},
			[]any{map[int]string{8080: "127.0.0.1:16160", 9090: "127.0.0.1:18180"}, "/v/inner/sub", []string{
				"OPERATOR=127.0.0.1:18180", "LEVEL=debug", "TOKEN_FILE=/v/token/token", "URL_PATH=/x", "ROOT=/", "PASSWORD=/etc/passwd", "TMPDIR=/private/read-only",
			}},
		},
		{
			"host and port apart, in two words", func(c *Container) { c.Command, c.Args = []string{"redis"}, []string{"--save", "", "--port", "8080"} },
			func(c *command) any { return c.args },
			[]string{"--save", "", "--port", "16160", "--bind", "127.0.0.1"},
		},
		{
			"a host that cannot be set", func(c *Container) { c.Command = []string{"metrics"} },
			func(c *command) any { return []any{c.args, c.ports} },
			[]any{[]string{"--port=16160"}, map[int]string{8080: "127.0.0.1:16160"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, err := translate(hook(tt.change), hookImage(), pretend())
			if err != nil {
				t.Fatal(err)
			}
			got := tt.check(cmd)
			if args, ok := got.(arguments); ok {
				got = []string(args)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Container)
		want   string
	}{
		{"a path below no mount, in a variable", func(c *Container) { c.Env = []Variable{{"TOKEN_FILE", "/etc/tokens/token", false}} }, "TOKEN_FILE: /etc/tokens/token is below no volumeMount"},
		{"a path below no mount, in a flag", func(c *Container) { c.Args = []string{"--token=/tmp/x"} }, "argument 1: /tmp/x is below no volumeMount"},
		{"a path below no mount, in a word", func(c *Container) { c.Args = []string{"/tmp/x"} }, "argument 1: /tmp/x is below no volumeMount"},
		{"a built-in path that was moved off the mounts", func(c *Container) { c.Env = []Variable{{"SOCKETS", "/run/sockets", false}} }, "SOCKETS: /run/sockets is below no volumeMount"},
		{"an address to listen on", func(c *Container) { c.Env = []Variable{{"PPROF", ":6060", false}} }, `PPROF: ":6060" is an address to listen on`},
		{"an address that is none", func(c *Container) { c.Args = []string{"--listen=8080"} }, `--listen: "8080" is no address`},
		{"a port that nobody serves", func(c *Container) { c.Ports = append(c.Ports, Port{"metrics", 9090}) }, "it declares the port metrics 9090, on which the program does not listen"},
		{"two addresses, one port", func(c *Container) { c.Args = []string{"--operator=:8080"} }, "listens on port 8080 twice"},
		{"another program", func(c *Container) { c.Command = []string{"sh", "-c", "true"} }, `"sh" is none of its programs`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := translate(hook(tt.change), hookImage(), pretend())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var start *StartError
			if !errors.As(err, &start) || start.Reason != ReasonRun {
				t.Errorf("got %v, want a %s", err, ReasonRun)
			}
		})
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	_, err := translate(hook(func(c *Container) {
		c.Env = []Variable{{"TOKEN", "/s3cret", true}}
		c.Args = []string{"--token=/s3cret"}
	}), hookImage(), pretend())
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestImageNames(t *testing.T) {
	for image, want := range map[string]string{
		"redis:7.2.11-alpine":                               "redis",
		"quay.io/argoproj/argocd:v2.14.21":                  "argocd",
		"registry.example:5000/propagator/cmp-sidecar":      "cmp-sidecar",
		"x/hook:v1@sha256:" + strings.Repeat("0", 64):       "hook",
		"public.ecr.aws/docker/library/redis:8.2.3-alpine3": "redis",
	} {
		if got, err := imageName(image); err != nil || got != want {
			t.Errorf("%s: %q, %v", image, got, err)
		}
	}
	if _, err := imageName("UPPER"); err == nil {
		t.Error("UPPER is no image")
	}
}

func TestImagesOfTheSuite(t *testing.T) {
	for _, image := range Images("/bin-dir") {
		program, args, err := image.program(&Container{Image: image.Name, Args: []string{"x"}})
		if err != nil || program.Path != filepath.Join("/bin-dir", image.Name) || !slices.Equal(args, []string{"x"}) {
			t.Errorf("%s: %+v %v %v", image.Name, program, args, err)
		}
	}
}

func TestArguments(t *testing.T) {
	a := arguments{"--a=1", "--b", "2", "--a", "3", "--c"}
	for flag, want := range map[string]string{"--a": "3", "--b": "2"} {
		if got, ok := a.lookup(flag); !ok || got != want {
			t.Errorf("%s: %q %t", flag, got, ok)
		}
	}
	for i, flag := range []string{"--c", "--d", "-a"} {
		if got, ok := a.lookup(flag); ok {
			t.Errorf("%s: %q %s", flag, got, strconv.Itoa(i))
		}
	}
	if diff := cmp.Diff(arguments{"--a=9", "--b", "2", "--c"}, a.with("--a", "9", false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(arguments{"--a=1", "--b", "2", "--a", "3", "--c", "--d", "9"}, a.with("--d", "9", true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
