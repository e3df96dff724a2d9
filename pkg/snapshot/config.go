package snapshot

import (
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// ReadConfig reads propagator.yaml from a tree that was fetched. What a
// snapshot deploys follows from the configuration in its own tree, so that it
// cannot change after Stage has tested it.
func ReadConfig(r gitrepo.Objects, tree gitrepo.Hash) (*config.Pipeline, error) {
	entry, err := gitrepo.Lookup(r, tree, config.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make one with: propagator init", config.File, err)
	}
	blob, err := r.Object(entry.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.File, err)
	}
	return config.Parse(blob.Data, config.File)
}
