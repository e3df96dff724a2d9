// Package sidecar is the program cmp-sidecar: it renders snapshots for Argo
// CD's repo-server.
//
// It serves the gRPC contract of config management plugins itself, on
// <socket-dir>/propagator.sock beside repo-server, instead of being started by
// argocd-cmp-server for each render. A request carries the checked-out
// snapshot; the answer is the manifests of one application with every image
// pinned, see [Generate]. Nothing is written to disk, nothing is fetched, and
// no Kubernetes access is needed.
//
// The subcommand generate does the same for one folder and prints the
// manifests, for installations that keep argocd-cmp-server.
//
// Applications choose what to render by plugin parameters:
//
//	source:
//	  repoURL: https://git.example/shop.git
//	  targetRevision: refs/tags/shop/v1.4.0
//	  path: envs/prod/web
//	  plugin:
//	    name: propagator
//	    parameters:
//	    - {name: environment, string: prod}
//	    - {name: application, string: web}
//	    - {name: snapshot, string: shop/v1.4.0}
//
// A repository can override its Applications' parameters
// (.argocd-source.yaml), so they are checked against the tree and can choose
// nothing that the snapshot does not contain.
package sidecar
