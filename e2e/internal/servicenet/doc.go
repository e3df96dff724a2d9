// Package servicenet stands in for a cluster's Service network, for programs
// that run as plain processes beside the cluster.
//
// In a cluster, a name such as hook.argocd.svc.cluster.local leads over DNS and
// kube-proxy to a ready Pod. Here the [Network] does it: it reads the Service
// from the API server, selects [Endpoint]s by the Service's selector, and finds
// the target port by its number or name, so that a wrong selector or a wrong
// port name in a manifest fails here as it would in a cluster. Programs reach
// it in two ways:
//
//   - as an HTTP proxy ([Network.Environment] says how), for whatever speaks
//     HTTP to a Service. Other hosts are reached directly;
//   - as a local TCP address for one port of a Service ([Network.Forward]), for
//     what does not know proxies, like Redis and gRPC.
//
// A Service without a ready endpoint answers as in a cluster: the connection is
// reset.
//
// The network records every request ([Network.Requests], [Network.Await]) and
// misbehaves on demand ([Network.Inject]): requests get lost, late, doubled or
// refused.
//
// All methods may be called from several goroutines at once.
package servicenet
