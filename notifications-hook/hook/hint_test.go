package hook

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
)

func TestHint(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"git host", &promotion.Error{Step: "observe", Side: "git", Err: fmt.Errorf("x: %w", gitrepo.ErrUnauthorized)}, "Secret propagator-git"},
		{"registry", &promotion.Error{Step: "mirror", Side: "registry", Err: fmt.Errorf("x: %w", registry.ErrUnauthorized)}, "Secret propagator-registries"},
		{"anything else", errors.New("x"), ""},
		{"none", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hint(test.err); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
