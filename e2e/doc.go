// Package e2e has the stories that Propagator has to live through with a real
// Argo CD on a real Kubernetes API server. Run them with
//
//	make e2e                  # with Argo CD v2.14.21
//	make e2e ARGOCD=v3.5.7
//
// The tests have the build tag e2e; without it this package is empty.
//
// # What is real
//
// The control plane of Kubernetes, Argo CD with its own install manifest, the
// manifests/ of this repository, the four programs, git over http, and three
// registries of the CNCF distribution. They are processes on 127.0.0.1: nothing
// is installed, no container runtime is needed, and several suites may run on
// one machine at once. The suite plays the kubelet: it reads from the API
// server what the applied Deployments say (command, environment, mounts,
// service account) and starts exactly that, so the manifests cannot be fiction.
//
// A scenario is a test of this package. In a suite they follow one another, since
// many of them kill what others would need; those that disturb nobody are played
// side by side after them. Where there are processors for it, several suites with a
// cluster of their own share all of them (internal/cmd/scenarios).
//
// What is not real: the Pods on the node kwok-0 become ready without running,
// and Service names are resolved by a forward proxy instead of a network.
//
// # What it takes
//
// Linux, the Go that go.mod names, git, and from Debian or Ubuntu
//
//	apt-get install --no-install-recommends etcd-server redis-server gnupg
//
// Everything else is built from the Go module proxy by make e2e-tools or by
// the first run: a quarter of an hour on two cores, kept for later runs.
//
// # Settings
//
//	PROPAGATOR_E2E_ARGOCD  the version of Argo CD; make e2e sets it from ARGOCD
//	PROPAGATOR_E2E_CACHE   where built programs are kept, ~/.cache/propagator-e2e
//	PROPAGATOR_E2E_DIR     where the state of a run is kept: logs, kubeconfigs, data;
//	                       a folder for each suite, named by its number
//	PROPAGATOR_E2E_KEEP    1: the state is not removed after the run
//
// # Packages
//
//	internal/cmd/scenarios plays the scenarios in several suites
//	internal/toolchain     builds the programs and finds those of the machine
//	internal/process       starts and ends them, and hands out ports
//	internal/cluster       etcd, Kubernetes, the simulated node
//	internal/realnode      a real node: containerd, runc and a kubelet
//	internal/workload      plays the kubelet for the programs of Deployments
//	internal/servicenet    stands in for the Service network, with faults
//	internal/argocd        a stock Argo CD
//	internal/gitserver     the git host
//	internal/registries    the three registries
//	internal/shop          the company whose release train this is
//	internal/applications  watches Argo CD's Applications
//	internal/runbook       runs the commands of a page of docs/
package e2e
