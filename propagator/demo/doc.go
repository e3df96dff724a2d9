// Package demo plays the whole release train on one machine in a few seconds:
// a real git server, three real registries and the suite's three programs, all
// on loopback, with the example's GitOps repository.
//
// Nothing of Propagator is simulated. What is played is its surroundings: CI
// (which pushes images and commits to main), people (who approve), and Argo CD,
// over Argo CD's own wire contracts: it asks the generator for Applications,
// streams the repository to the sidecar for every render, pulls what the
// manifests name, and notifies the hook.
//
// At the end the promises are checked against the live repository and
// registries, with git itself where git can answer.
package demo
