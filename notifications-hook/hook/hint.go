package hook

import (
	"errors"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

// hint is what to do about a failed run; empty when the error says it, or when
// only time helps. A password file is read anew for each request, the
// logins of registries when one is refused; the rest when the program starts.
func hint(err error) string {
	switch {
	case errors.Is(err, gitrepo.ErrUnauthorized):
		return "give the hook a password or key that the Git host accepts (--git-password-file, which is read anew, or --git-ssh-key and a restart; as installed: Secret propagator-git); propagator doctor --only git tells whether it will do"
	case errors.Is(err, registry.ErrUnauthorized):
		return "give the hook a login that the registry accepts (Docker configuration in DOCKER_CONFIG; as installed: Secret propagator-registries), which is read anew; propagator doctor --only registries tells whether it will do"
	}
	return ""
}
