package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

const (
	serviceRange = "10.96.0.0/16"
	apiServiceIP = "10.96.0.1"
	podRange     = "10.244.0.0/16"
	issuer       = "https://kubernetes.default.svc"
)

// The control plane keeps nothing that a suite needs after its end, so waiting
// for long would only be felt.
const grace = 3 * time.Second

// ports are those of one cluster.
type ports struct{ etcd, etcdPeer, apiServer, controllerManager, scheduler, kwok int }

func newPorts() (ports, error) {
	p, err := process.FreePorts(6)
	if err != nil {
		return ports{}, err
	}
	return ports{etcd: p[0], etcdPeer: p[1], apiServer: p[2], controllerManager: p[3], scheduler: p[4], kwok: p[5]}, nil
}

func (ports) url(scheme string, port int) string {
	return scheme + "://127.0.0.1:" + strconv.Itoa(port)
}

// environment is what every process of the cluster gets: no credentials and no
// proxy of the machine, since all its peers are on loopback. Suites have more
// memory than time.
func (c *Cluster) environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "TMPDIR=" + os.TempDir(), "GOGC=400"}, more...)
}

func (c *Cluster) etcd() process.Spec {
	client, peer := c.ports.url("http", c.ports.etcd), c.ports.url("http", c.ports.etcdPeer)
	return process.Spec{
		Name: "etcd", Path: c.tools.Path("etcd"), Log: c.log("etcd"), Grace: grace,
		// Debian's 3.4 asks for this on arm64, and ignores it elsewhere.
		Env: c.environment("ETCD_UNSUPPORTED_ARCH=" + runtime.GOARCH),
		Args: []string{
			"--name=e2e", "--data-dir=" + c.path("etcd"), "--log-level=warn", "--logger=zap",
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=e2e=" + peer,
			// Its data need not outlive the machine.
			"--unsafe-no-fsync",
		},
		Ready: process.Answers(nil, client+"/health"),
	}
}

func (c *Cluster) apiServer() process.Spec {
	return process.Spec{
		Name: "kube-apiserver", Path: c.tools.Path("kube-apiserver"), Log: c.log("kube-apiserver"), Grace: grace,
		Env: c.environment(),
		Args: append(c.serving(c.ports.apiServer),
			"--etcd-servers="+c.ports.url("http", c.ports.etcd),
			"--client-ca-file="+c.pki.file("ca.crt"),
			"--authorization-mode=RBAC",
			"--service-account-issuer="+issuer,
			"--service-account-key-file="+c.pki.file("service-accounts.key"),
			"--service-account-signing-key-file="+c.pki.file("service-accounts.key"),
			"--service-cluster-ip-range="+serviceRange,
			// Loopback is no address for others; nobody asks for the endpoints of
			// the Service kubernetes, and without a reconciler it is accepted.
			"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
			// A real node's system Pods may be privileged.
			"--allow-privileged",
			"--audit-policy-file="+c.path("audit-policy.yaml"), "--audit-log-path="+c.log("audit"),
			"--profiling=false",
		),
		Ready: process.Answers(c.client(), c.ports.url("https", c.ports.apiServer)+"/readyz"),
	}
}

func (c *Cluster) controllerManager() process.Spec {
	return process.Spec{
		Name: "kube-controller-manager", Path: c.tools.Path("kube-controller-manager"), Log: c.log("kube-controller-manager"), Grace: grace,
		Env: c.environment(),
		Args: append(c.serving(c.ports.controllerManager),
			"--kubeconfig="+c.Kubeconfig(), "--authentication-skip-lookup", "--leader-elect=false",
			"--root-ca-file="+c.pki.file("ca.crt"),
			"--service-account-private-key-file="+c.pki.file("service-accounts.key"),
			"--profiling=false",
		),
		Ready: process.Answers(c.client(), c.ports.url("https", c.ports.controllerManager)+"/healthz"),
	}
}

func (c *Cluster) scheduler() process.Spec {
	return process.Spec{
		Name: "kube-scheduler", Path: c.tools.Path("kube-scheduler"), Log: c.log("kube-scheduler"), Grace: grace,
		Env: c.environment(),
		Args: append(c.serving(c.ports.scheduler),
			"--kubeconfig="+c.Kubeconfig(), "--authentication-skip-lookup", "--leader-elect=false", "--profiling=false"),
		Ready: process.Answers(c.client(), c.ports.url("https", c.ports.scheduler)+"/healthz"),
	}
}

func (c *Cluster) kwok() process.Spec {
	address := "127.0.0.1:" + strconv.Itoa(c.ports.kwok)
	return process.Spec{
		Name: "kwok", Path: c.tools.Path("kwok"), Log: c.log("kwok"), Grace: grace,
		Env: c.environment(),
		Args: []string{
			"--kubeconfig=" + c.Kubeconfig(), "--config=" + c.path("kwok.yaml"), "--server-address=" + address,
			// A real node beside it is none of its business.
			"--manage-single-node=" + NodeName,
			"--node-ip=127.0.0.1", "--cidr=" + podRange, "--node-lease-duration-seconds=40",
		},
		Ready: process.Answers(nil, "http://"+address+"/readyz"),
	}
}

// serving are the flags of Kubernetes' servers for a port of loopback.
func (c *Cluster) serving(port int) []string {
	return []string{
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + c.pki.file("server.crt"), "--tls-private-key-file=" + c.pki.file("server.key"),
	}
}

// client trusts the cluster's own authority and nobody else.
func (c *Cluster) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(c.pki.certificate)
	return &http.Client{Transport: &http.Transport{
		Proxy:             nil,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
}
