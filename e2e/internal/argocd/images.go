package argocd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleeting-taas/propagator/e2e/internal/toolchain"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// Images are those of a version's manifests: Argo CD's own and redis. They go
// into the [workload.Config] of the kubelet that [Start] is given.
func Images(ctx context.Context, t *toolchain.Tools, version string) ([]workload.Image, error) {
	s, err := check(ctx, t, version)
	if err != nil {
		return nil, err
	}
	// The image has git, gpg and a shell; here the machine has them.
	path := []string{filepath.Join(t.Dir(s.tools), "path"), t.Dir(toolchain.Renderers), os.Getenv("PATH")}
	program := filepath.Join(t.Dir(s.tools), "argocd")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("argo cd %s: %w", version, err)
	}
	return []workload.Image{
		{
			Name: "argocd", Path: strings.Join(path, string(os.PathListSeparator)), Home: "/home/argocd",
			Env:      []string{"USER=argocd"},
			Programs: programs(program),
		},
		{
			Name: "redis", Path: os.Getenv("PATH"), Home: "/", Entrypoint: []string{"redis-server"},
			Programs: map[string]workload.Program{"redis-server": {
				Path:     t.Path("redis-server"),
				TwoWords: true,
				Listen:   []workload.Listen{apart("--port", "6379", workload.Setting{Flag: "--bind"})},
			}},
		},
	}, nil
}

// apart is a port that is set by a flag, with a host set otherwise.
func apart(flag, port string, host workload.Setting) workload.Listen {
	return workload.Listen{Setting: workload.Setting{Flag: flag, Default: port}, Host: host}
}

func setting(flag, variable, value string) workload.Setting {
	return workload.Setting{Flag: flag, Variable: variable, Default: value}
}

// programs are the components. All are one file, which looks at a variable for
// what it is to be. Their addresses are settings of their own, as all of them
// share one host here; the addresses of Services are as well, as gRPC and
// redis do not know proxies.
func programs(path string) map[string]workload.Program {
	const (
		repoServer = "argocd-repo-server:8081"
		bin        = "/usr/local/bin/"
	)
	var (
		redis  = setting("--redis", "REDIS_SERVER", "argocd-redis:6379")
		all    = workload.Setting{Flag: "-"} // Listens on all addresses; there is no flag for it.
		config = []workload.Setting{
			setting("", "ARGOCD_TLS_DATA_PATH", "/app/config/tls"),
			setting("", "ARGOCD_SSH_DATA_PATH", "/app/config/ssh"),
			setting("", "ARGOCD_GPG_DATA_PATH", "/app/config/gpg/source"),
			setting("", "ARGOCD_GNUPGHOME", "/app/config/gpg/keys"),
		}
	)
	component := func(p workload.Program, name string) workload.Program {
		p.Path = path
		p.Kubeconfig = "KUBECONFIG"
		p.Env = []string{
			"ARGOCD_BINARY_NAME=" + name,
			// The cluster that Applications call https://kubernetes.default.svc
			// is that of the kubeconfig.
			"ARGOCD_FAKE_IN_CLUSTER=true",
			// Signatures of commits are not looked at; an agent for them would
			// outlive its component.
			"ARGOCD_GPG_ENABLED=false",
			// The machine has more memory than time.
			"GOGC=400",
		}
		return p
	}
	return map[string]workload.Program{
		bin + "argocd-repo-server": component(workload.Program{
			Listen: []workload.Listen{
				apart("--port", "8081", setting("--address", "ARGOCD_REPO_SERVER_LISTEN_ADDRESS", "")),
				apart("--metrics-port", "8084", setting("--metrics-address", "ARGOCD_REPO_SERVER_METRICS_LISTEN_ADDRESS", "")),
			},
			Peers: []workload.Setting{redis},
			Paths: append([]workload.Setting{
				setting("", "ARGOCD_PLUGINSOCKFILEPATH", "/home/argocd/cmp-server/plugins"),
				// The default is one path for the whole machine.
				setting("", "ARGOCD_ASK_PASS_SOCK", "/tmp/reposerver-ask-pass.sock"),
			}, config...),
		}, "argocd-repo-server"),
		bin + "argocd-application-controller": component(workload.Program{
			Listen: []workload.Listen{apart("--metrics-port", "8082", all)},
			Peers:  []workload.Setting{redis, setting("--repo-server", "ARGOCD_APPLICATION_CONTROLLER_REPO_SERVER", repoServer)},
			Paths:  config,
		}, "argocd-application-controller"),
		bin + "argocd-applicationset-controller": component(workload.Program{
			Listen: []workload.Listen{
				{Setting: setting("--metrics-addr", "", ":8080")},
				{Setting: setting("--probe-addr", "", ":8081")},
				{Setting: setting("--webhook-addr", "", ":7000")},
			},
			Peers: []workload.Setting{setting("--argocd-repo-server", "ARGOCD_APPLICATIONSET_CONTROLLER_REPO_SERVER", repoServer)},
			Paths: config,
		}, "argocd-applicationset-controller"),
		bin + "argocd-notifications": component(workload.Program{
			Listen: []workload.Listen{apart("--metrics-port", "9001", all)},
			Peers:  []workload.Setting{setting("--argocd-repo-server", "", repoServer)},
			Paths:  config,
		}, "argocd-notifications"),
		bin + "argocd-server": component(workload.Program{
			Listen: []workload.Listen{
				apart("--port", "8080", setting("--address", "ARGOCD_SERVER_LISTEN_ADDRESS", "")),
				apart("--metrics-port", "8083", workload.Setting{Flag: "--metrics-address"}),
			},
			Peers: []workload.Setting{redis, setting("--repo-server", "ARGOCD_SERVER_REPO_SERVER", repoServer)},
			Paths: config,
			Free:  []string{"ARGOCD_SERVER_BASEHREF", "ARGOCD_SERVER_ROOTPATH", "ARGOCD_SERVER_STATIC_ASSETS"},
		}, "argocd-server"),
		"argocd": component(workload.Program{}, "argocd"),
	}
}
