// Package shop is the company of an end-to-end suite: a GitOps repository, the
// CI that builds its services, and the people who work on it.
//
// A [Content] is what a repository begins with: examples/shop ([Shop]), or an
// environment of many applications made to measure ([Fleet]). [New] brings it
// to life: it pushes the content as the repository's first commit and every
// image that its manifests name. From then on a [Pipeline] is what the company
// does: CI releases ([Pipeline.Release]), people change files, approve and tag
// ([Pipeline.Commit], [Pipeline.Approve], [Pipeline.Tag]), and a nightly job
// empties Dev's registry ([Pipeline.DeleteDevImages]). All of it goes through
// the git server and the registries with the rights of whoever does it;
// nothing here knows Propagator.
//
// What an operator would have applied to Argo CD before Propagator came,
// Dev's Applications and access to the repository, is [Pipeline.Applications]
// and [Pipeline.RepositorySecret].
package shop
