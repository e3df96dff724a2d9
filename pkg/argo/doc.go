// Package argo is how Propagator sees and touches Argo CD through the
// Kubernetes API: it lists Applications and asks ApplicationSets to generate
// anew. It is the only package that imports argo-cd and gitops-engine, so that
// the other programs stay small and an upgrade of Argo CD stays local.
package argo
