// Package kube reads a Kubernetes API server as an operator does, and reaches
// into Pods as kubectl port-forward does. It changes nothing: there is no
// method that writes. What it posts are questions about rights, which the server
// answers and does not keep.
//
// It and pkg/argo are the only packages that know a Kubernetes client library.
// A path is what stands behind the server's address, made with [Path]; objects
// are decoded from JSON into whatever type the caller has, so that nobody has to
// link the types of Argo CD to read an Application.
package kube
