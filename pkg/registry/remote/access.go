package remote

import (
	"context"
	"errors"
	"net/http"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// MayPull asks for one tag of a repository. nil means that the credentials may
// read there, or that the repository does not exist yet and the registry says
// so to them. ErrUnauthorized, ErrUnreachable.
func (r *Registry) MayPull(ctx context.Context, repo string) error {
	const what = "tags"
	resp, err := r.do(ctx, call{
		what: what, method: http.MethodGet, path: "tags/list", query: "n=1",
		access: access{repo: r.path(repo)}, accept: []int{http.StatusOK},
	})
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	if err != nil {
		return r.fail(repo, what, err)
	}
	return resp.Body.Close()
}

// MayPush opens an upload in a repository and gives it up again, so that
// nothing is stored. nil means that the credentials may write there.
// ErrUnauthorized; ErrNotFound where a registry wants repositories to be made
// before anything is pushed; ErrUnreachable.
func (r *Registry) MayPush(ctx context.Context, repo string) error {
	const what = "upload"
	may := access{repo: r.path(repo), push: true}
	resp, err := r.do(ctx, call{
		what: what, method: http.MethodPost, path: "blobs/uploads/", body: []byte{},
		access: may, accept: []int{http.StatusAccepted},
	})
	if err != nil {
		return r.fail(repo, what, err)
	}
	target, err := r.uploadURL(resp, "")
	if err != nil {
		return r.fail(repo, what, err)
	}
	// An upload that cannot be given up expires by itself; some registries
	// have no word for it.
	resp, err = r.do(ctx, call{
		what: what, method: http.MethodDelete, url: target, access: may, once: true,
		accept: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted},
	})
	if err == nil {
		_ = resp.Body.Close() // there is nothing in it
	}
	return nil
}
