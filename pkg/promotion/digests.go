package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// pin is an image as an environment has to run it.
type pin struct {
	// reference is what the Pod's spec must say.
	reference string
	// registry and repo are where it is, in the pipeline's configuration.
	registry config.Registry
	repo     string
	digest   string
}

// pins are the images of one application in one environment, by reference.
func pins(p *config.Pipeline, lock *snapshot.Lock, environment, application string) (map[string]pin, error) {
	e, ok := p.Environment(environment)
	if !ok {
		return nil, fmt.Errorf("snapshot %s has no environment %q", lock.Version, environment)
	}
	all := map[string]pin{}
	for _, image := range lock.Images {
		if !slices.Contains(image.UsedBy, environment+"/"+application) {
			continue
		}
		location, err := p.Locate(image.Requested)
		if err != nil {
			return nil, err
		}
		reference, err := p.Pinned(environment, location, image.Digest)
		if err != nil {
			return nil, err
		}
		all[reference] = pin{reference: reference, registry: p.Registries[e.Registry], repo: location.TargetRepo(), digest: image.Digest}
	}
	return all, nil
}

// compare holds what the Pods run against the lock. A container whose image is
// from a repository that the lock does not have for this application was put
// there by something in the cluster (a service mesh), and is none of ours: had
// somebody changed the manifests, the Application would not be Synced.
func (e *Engine) compare(ctx context.Context, p *config.Pipeline, q *inquiry, s *Sight, running []Pod, all map[string]pin) {
	byRepository := map[string][]string{}
	for reference, pin := range all {
		name := repositoryOf(reference)
		byRepository[name] = append(byRepository[name], pin.digest)
	}
	confirmed := map[string]bool{}
	s.Pods = len(running)
	for _, pod := range running {
		for _, c := range pod.Containers {
			wanted, ok := all[c.Image]
			if !ok {
				if digests := byRepository[repositoryOf(c.Image)]; len(digests) > 0 && s.Mismatch == "" {
					s.Mismatch = fmt.Sprintf("Pod %s is told to run %s; the snapshot has %s", pod.Name, brief(c.Image), strings.Join(slices.Sorted(slices.Values(digests)), ", "))
				}
				continue
			}
			same, err := e.confirm(ctx, p, q, wanted, c.ImageID)
			switch {
			case err != nil && s.Unread == "":
				s.Unread = fmt.Sprintf("Pod %s reports another digest: %v", pod.Name, err)
			case same == different && s.Mismatch == "":
				s.Mismatch = fmt.Sprintf("Pod %s runs %s; the snapshot has %s", pod.Name, brief(c.ImageID), wanted.reference)
			case same == equal:
				confirmed[wanted.digest] = true
			}
		}
	}
	s.Digests = len(confirmed)
}

// sameness is what a runtime's report says about a digest of the lock.
type sameness int

const (
	// unverifiable: it reports nothing, or nothing that could be compared.
	unverifiable sameness = iota
	equal
	different
)

// confirm compares a runtime's report with a pin. The report names the image
// that the runtime knows the content by, which need not be the one that the
// Pod asked for: a platform's manifest in place of the index, a configuration,
// or another index around the same image that the node pulled before.
func (e *Engine) confirm(ctx context.Context, p *config.Pipeline, q *inquiry, wanted pin, reported string) (sameness, error) {
	repository, digest, ok := imageID(reported)
	if !ok {
		return unverifiable, nil
	}
	if digest == wanted.digest {
		return equal, nil
	}
	home, err := e.Registries.Open(wanted.registry)
	if err != nil {
		return unverifiable, err
	}
	own, err := q.contentsOf(ctx, home, wanted.registry.Name, wanted.repo, wanted.digest)
	switch {
	case err == nil && own.all[digest]:
		return equal, nil
	case repository == "":
		return unverifiable, nil
	case err != nil:
		return unverifiable, unsaid(err)
	}
	location, err := p.Locate(repository + "@" + digest)
	if err != nil || location.Registry == "" {
		return unverifiable, nil // from elsewhere, where nobody is asked
	}
	reader, err := e.Registries.Open(p.Registries[location.Registry])
	if err != nil {
		return unverifiable, err
	}
	other, err := q.contentsOf(ctx, reader, location.Registry, location.Repo, digest)
	if err == nil {
		same := own.meet(other)
		if same == unverifiable {
			err = fmt.Errorf("%s has what the snapshot has for one platform only; restart the Pod once its node has dropped the image", brief(reported))
		}
		return same, err
	}
	switch atHome := location.Registry == wanted.registry.Name && repository == repositoryOf(wanted.reference); {
	case atHome && errors.Is(err, registry.ErrNotFound):
		// The environment's own registry keeps what it ever had to run there.
		return different, nil
	case atHome:
		return unverifiable, unsaid(err)
	}
	// It was in a registry that forgets, as Dev's.
	return unverifiable, nil
}

func unsaid(err error) error {
	return fmt.Errorf("the registry does not say what belongs to it: %w", err)
}

// differences compares what the Pods of the first environment run with the
// newest snapshot of their commit: mutable tags may have moved between the pull
// and the capture, and may be pulled again at any time (S33). They hold nothing
// up: they are found anew once per warningPeriod, and when the snapshot or one of
// the Applications changes.
func (e *Engine) differences(ctx context.Context, s *State, applications []Application, pods *podReader) []Wait {
	mutable := map[string]snapshot.Image{}
	first := s.Pipeline.First()
	for _, image := range s.Newest.Lock.ImagesOf(first.Name) {
		if !strings.Contains(image.Requested, "@") {
			mutable[image.Requested] = image
		}
	}
	if len(mutable) == 0 {
		return nil
	}
	var there []Application
	of := s.Newest.Lock.Version.String()
	for _, a := range applications {
		if a.local() && !a.unwell() && a.ComparedRevision == s.Newest.Captured() {
			there = append(there, a)
		}
	}
	slices.SortFunc(there, func(a, b Application) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	for _, a := range there {
		of += fmt.Sprintf(" %s/%s:%d:%d", a.Namespace, a.Name, a.FinishedAt.Unix(), a.HealthSince.Unix())
	}
	if last, ok := e.memory.lastDifferences(of, s.Now); ok {
		return last
	}
	p, err := snapshot.ReadConfig(e.Repo, s.Newest.Tree)
	if err != nil {
		return nil // it is said elsewhere that the snapshot cannot be read
	}
	found := map[string]string{}
	q := e.memory.inquireForWarnings(s.Now)
	for _, a := range there {
		_, own := pods.of(ctx, a)
		for _, pod := range a.running(own) {
			for _, c := range pod.Containers {
				image, ok := mutable[c.Image]
				if !ok || found[c.Image] != "" {
					continue
				}
				if wanted, ok := kept(p, image); ok {
					if same, err := e.confirm(ctx, p, q, wanted, c.ImageID); err == nil && same == different {
						found[c.Image] = fmt.Sprintf("Pod %s runs %s as %s; the snapshot has %s", pod.Name, c.Image, brief(c.ImageID), image.Digest)
					}
				}
			}
		}
	}
	warnings := make([]Wait, 0, len(found))
	for _, image := range slices.Sorted(maps.Keys(found)) {
		warnings = append(warnings, Wait{Environment: first.Name, Version: s.Newest.Lock.Version.String(), Reason: DigestMismatch, Detail: found[image]})
	}
	e.memory.keepDifferences(of, warnings, s.Now)
	return warnings
}

// kept is an image of the first environment where a capture puts it: into the
// registry of an environment behind the first.
func kept(p *config.Pipeline, image snapshot.Image) (pin, bool) {
	location, err := p.Locate(image.Requested)
	if err != nil {
		return pin{}, false
	}
	for _, e := range p.Environments {
		if directlyAfterFirst(p, e) {
			return pin{
				reference: repositoryOf(image.Requested) + "@" + image.Digest,
				registry:  p.Registries[e.Registry], repo: location.TargetRepo(), digest: image.Digest,
			}, true
		}
	}
	return pin{}, false
}
