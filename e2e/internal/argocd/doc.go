// Package argocd installs a stock Argo CD into a suite's cluster and runs it.
//
// [Install] applies Argo CD's own install.yaml, as its users do. [Start] then
// runs what its Deployments and its StatefulSet say, as processes of a
// [workload.Kubelet]: redis, repo-server, application controller,
// ApplicationSet controller, notifications controller and server. Whatever is
// configured (argocd-cmd-params-cm, argocd-cm, an overlay of the Deployments)
// reaches them as in a cluster: environment when a component is restarted,
// changes of a Pod template by themselves. Dex is not run; nobody logs in.
//
// Versions differ in the module of e2e/tools that they are built from, and in
// nothing here.
package argocd
