package gates

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/sigstore"
)

// signatures opens a gate with the keys, or the trusted root, of the source
// branch.
func (s *Set) signatures(g config.SignaturesGate, from promotion.Sources) (gate.Gate, error) {
	file, command := g.Key, "cosign sign --key <private key>"
	if file == "" {
		file, command = g.Roots, "cosign sign"
	}
	text, err := from.File(file)
	if err != nil {
		return nil, fmt.Errorf("signatures: %w", err)
	}
	var policy *sigstore.Policy
	if g.Key != "" {
		policy, err = sigstore.Keys(text)
	} else {
		identities := make([]sigstore.Identity, 0, len(g.Identities))
		for _, i := range g.Identities {
			identities = append(identities, sigstore.Identity(i))
		}
		policy, err = sigstore.Keyless(text, identities)
	}
	if err != nil {
		return nil, fmt.Errorf("signatures: %s on the source branch: %w", file, err)
	}
	registry, err := from.Registry()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", g.Key, g.Identities, text))
	return gate.NewSignatures(gate.SignaturesOptions{
		Policy: policy, Registry: registry, Images: g.Images, Command: command, Proven: &s.proven, PolicyID: hex.EncodeToString(id[:]),
	})
}
