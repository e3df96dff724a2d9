// Package manifests is what installs Propagator into a stock Argo CD; the
// package has no code, only tests that build every kustomization and hold it to
// what the programs and Argo CD expect. See README.md.
package manifests
