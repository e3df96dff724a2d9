package snapshot

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// ReadConfig reads propagator.yaml from a tree that was fetched. What a
// snapshot deploys follows from the configuration in its own tree, so that it
// cannot change after Stage has tested it. The pipeline is shared with other
// readers of the same text, and must not be changed.
func ReadConfig(r gitrepo.Objects, tree gitrepo.Hash) (*config.Pipeline, error) {
	entry, err := gitrepo.Lookup(r, tree, config.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make one with: propagator init", config.File, err)
	}
	blob, err := r.Object(entry.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.File, err)
	}
	return parsed.parse(blob.Data)
}

// parsed remembers configurations by what is in them: a hook looks at each of its
// pipelines all the time, and seldom has a configuration changed.
var parsed = pipelines{known: map[[sha256.Size]byte]*config.Pipeline{}}

// maxPipelines bounds what is remembered; a pipeline takes some kilobytes.
const maxPipelines = 1024

type pipelines struct {
	mu    sync.Mutex // guards known
	known map[[sha256.Size]byte]*config.Pipeline
}

func (p *pipelines) parse(text []byte) (*config.Pipeline, error) {
	key := sha256.Sum256(text)
	p.mu.Lock()
	pipeline := p.known[key]
	p.mu.Unlock()
	if pipeline != nil {
		return pipeline, nil
	}
	pipeline, err := config.Parse(text, config.File)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for other := range p.known {
		if len(p.known) < maxPipelines {
			break
		}
		delete(p.known, other) // any one
	}
	p.known[key] = pipeline
	return pipeline, nil
}
