package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// Referrers implements [registry.Reader].
func (r *Registry) Referrers(ctx context.Context, repo, digest string) ([]registry.Descriptor, error) {
	if !registry.IsDigest(digest) {
		return nil, r.fail(repo, fmt.Sprintf("referrers of %q", digest), errors.New("not a sha256 digest"))
	}
	found, has, err := r.askReferrers(ctx, repo, digest)
	if err == nil && !has {
		found, err = r.fallbackReferrers(ctx, repo, digest)
	}
	if err != nil {
		return nil, r.fail(repo, "referrers of "+digest, err)
	}
	return found, nil
}

// noReferrersAPI are the answers of registries that do not know the API.
var noReferrersAPI = []int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented}

// askReferrers asks the referrers API and reports whether there is one. The
// first clear answer is remembered for the repository.
func (r *Registry) askReferrers(ctx context.Context, repo, digest string) ([]registry.Descriptor, bool, error) {
	r.mu.Lock()
	has, known := r.hasReferrers[repo]
	r.mu.Unlock()
	if known && !has {
		return nil, false, nil
	}
	if !known {
		// One asks, and the others know.
		unlock, err := r.probes.lock(ctx, repo)
		if err != nil {
			return nil, false, err
		}
		defer unlock()
		r.mu.Lock()
		has, known = r.hasReferrers[repo]
		r.mu.Unlock()
		if known && !has {
			return nil, false, nil
		}
	}
	var found []registry.Descriptor
	unclear := false
	has = true
	err := r.pages(ctx, repo, "referrers", "referrers/"+digest, append(noReferrersAPI, http.StatusOK), func(resp *http.Response, raw []byte) error {
		if resp.StatusCode != http.StatusOK {
			has = false
			unclear = saysNameUnknown(raw)
			return nil
		}
		list := registry.Manifest{MediaType: registry.MediaTypeOCIIndex, Raw: raw}
		parts, err := list.Parse()
		if err != nil {
			// Some front ends answer 200 with a page for people.
			has = false
			return nil // no list is "no API", as the status would say
		}
		found = append(found, parts.Children...)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if !unclear {
		r.mu.Lock()
		r.hasReferrers[repo] = has
		r.mu.Unlock()
	}
	return found, has, nil
}

// saysNameUnknown reports a 404 that is about the repository, not the API.
func saysNameUnknown(raw []byte) bool {
	var answer struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return false
	}
	for _, e := range answer.Errors {
		if e.Code == "NAME_UNKNOWN" || e.Code == "MANIFEST_UNKNOWN" {
			return true
		}
	}
	return false
}

// LacksReferrersAPI implements [registry.ReferrersAPI].
func (r *Registry) LacksReferrersAPI(repo string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	has, known := r.hasReferrers[repo]
	return known && !has
}

// referrersAPI reports whether the repository has the API, asking for digest
// when that is not known yet.
func (r *Registry) referrersAPI(ctx context.Context, repo, digest string) (bool, error) {
	r.mu.Lock()
	has, known := r.hasReferrers[repo]
	r.mu.Unlock()
	if known {
		return has, nil
	}
	_, has, err := r.askReferrers(ctx, repo, digest)
	return has, err
}

func (r *Registry) fallbackReferrers(ctx context.Context, repo, digest string) ([]registry.Descriptor, error) {
	list, err := r.fallbackList(ctx, repo, digest)
	if err != nil || len(list.Raw) == 0 {
		return nil, err
	}
	parts, err := list.Parse()
	if err != nil {
		return nil, fmt.Errorf("tag %s: %w", registry.ReferrersTag(digest), err)
	}
	return parts.Children, nil
}

// fallbackList returns the fallback tag's list, zero if there is none.
func (r *Registry) fallbackList(ctx context.Context, repo, digest string) (registry.Manifest, error) {
	list, err := r.manifest(ctx, repo, registry.ReferrersTag(digest))
	if errors.Is(err, registry.ErrNotFound) {
		return registry.Manifest{}, nil
	}
	return list, err
}

// addReferrer lists entry under the fallback tag of its subject.
func (r *Registry) addReferrer(ctx context.Context, repo, subject string, entry registry.Descriptor) error {
	unlock, err := r.referrers.lock(ctx, repo+"@"+subject)
	if err != nil {
		return err
	}
	defer unlock()
	// Each round ends with a look at what is there now; a list without our
	// entry was written by somebody who had read it before us.
	const rounds = 5
	for range rounds {
		list, err := r.fallbackList(ctx, repo, subject)
		if err != nil {
			return err
		}
		list, changed, err := registry.AddReferrer(list, entry)
		if err != nil || !changed {
			return err
		}
		if _, err := r.putReference(ctx, repo, list, registry.ReferrersTag(subject)); err != nil {
			return err
		}
	}
	return fmt.Errorf("somebody else keeps overwriting the list of referrers of %s; try again", subject)
}
