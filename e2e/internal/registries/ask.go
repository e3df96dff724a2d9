package registries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// page is how many repositories are asked for; a suite has fewer.
const page = 1000

// accept are the manifests that a suite's registries hold.
var accept = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

// Repositories lists the repositories that ever got an image, sorted.
func (r *Registry) Repositories(ctx context.Context) ([]string, error) {
	var list struct {
		Repositories []string `json:"repositories"`
	}
	if err := r.get(ctx, fmt.Sprintf("/v2/_catalog?n=%d", page), &list); err != nil {
		return nil, err
	}
	if len(list.Repositories) >= page {
		return nil, fmt.Errorf("registry %s has %d repositories or more, which the suite does not expect", r.name, page)
	}
	slices.Sort(list.Repositories)
	return list.Repositories, nil
}

// Tags lists a repository's tags, sorted. A repository that never had an image
// is ErrNotFound.
func (r *Registry) Tags(ctx context.Context, repo string) ([]string, error) {
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := r.get(ctx, "/v2/"+repo+"/tags/list", &list); err != nil {
		return nil, err
	}
	slices.Sort(list.Tags)
	return list.Tags, nil
}

// Digest returns the digest of the manifest that a tag or digest names;
// ErrNotFound if there is none.
func (r *Registry) Digest(ctx context.Context, repo, reference string) (string, error) {
	res, err := r.ask(ctx, http.MethodHead, "/v2/"+repo+"/manifests/"+reference)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	digest := res.Header.Get("Docker-Content-Digest")
	if digest == "" {
		return "", fmt.Errorf("registry %s: no digest for %s:%s", r.name, repo, reference)
	}
	return digest, nil
}

// Has reports whether the registry has a manifest.
func (r *Registry) Has(ctx context.Context, repo, digest string) (bool, error) {
	_, err := r.Digest(ctx, repo, digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete deletes a manifest, and the tags that name it, as a clean-up job does.
// Only Dev's registry allows it.
func (r *Registry) Delete(ctx context.Context, repo, digest string) error {
	res, err := r.ask(ctx, http.MethodDelete, "/v2/"+repo+"/manifests/"+digest)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Lose removes a manifest from the disk without asking the registry: an
// accident. ErrNotFound if it is not there. Tags that name it stay and lead
// nowhere.
func (r *Registry) Lose(repo, digest string) error {
	if !digestPattern.MatchString(digest) {
		return fmt.Errorf("registry %s: lose %s: %q is not a digest", r.name, repo, digest)
	}
	link := filepath.Join(r.revisions(repo), strings.TrimPrefix(digest, "sha256:"))
	if _, err := os.Stat(link); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("registry %s: lose %s@%s: %w", r.name, repo, digest, ErrNotFound)
	}
	if err := os.RemoveAll(link); err != nil {
		return fmt.Errorf("registry %s: lose %s: %w", r.name, repo, err)
	}
	return nil
}

// Manifests lists the digests of all manifests of a repository, those of single
// platforms included, sorted. It is empty if there are none.
func (r *Registry) Manifests(repo string) ([]string, error) {
	entries, err := os.ReadDir(r.revisions(repo))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("registry %s: %w", r.name, err)
	}
	var digests []string
	for _, entry := range entries {
		// A deleted manifest leaves its folder, without the link.
		if _, err := os.Stat(filepath.Join(r.revisions(repo), entry.Name(), "link")); err == nil {
			digests = append(digests, "sha256:"+entry.Name())
		}
	}
	return digests, nil
}

// revisions is the folder in which the registry lists a repository's manifests.
func (r *Registry) revisions(repo string) string {
	return filepath.Join(r.storage(), "docker", "registry", "v2", "repositories", filepath.FromSlash(repo), "_manifests", "revisions", "sha256")
}

func (r *Registry) get(ctx context.Context, path string, into any) error {
	res, err := r.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("registry %s: GET %s: %w", r.name, path, err)
	}
	return nil
}

// ask sends a request with the registry's credentials. Answers other than 2xx
// are errors, 404 is ErrNotFound.
func (r *Registry) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.URL()+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.name, err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", agent)
	if user, password := r.Credentials(); user != "" {
		req.SetBasicAuth(user, password)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.name, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("registry %s: %s %s: %w", r.name, method, path, ErrNotFound)
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // a part is better than nothing
	return nil, fmt.Errorf("registry %s: %s %s: %s: %s", r.name, method, path, res.Status, strings.TrimSpace(string(said)))
}
