// Package registries runs the container registries of an end-to-end suite:
// processes of the CNCF distribution registry that keep their images on disk.
//
// There are four, called by the names that the shop's manifests use: Dev's,
// which is open and lets clean-up jobs delete; Stage's and Prod's, which want
// credentials and delete nothing; and the one that stands for Docker Hub,
// where third-party images come from. Nothing resolves those names: Propagator
// reaches the registries by its setting PROPAGATOR_REGISTRY_ENDPOINT
// ([Set.Endpoints]) with the credentials of a Docker configuration
// ([Set.DockerConfig]).
//
// A [Registry] is asked with plain HTTP of its own, so that Propagator's
// client is not its own witness. It can be stopped, killed and started again,
// and lose an image as a broken disk does.
package registries
