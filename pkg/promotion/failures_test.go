package promotion

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
)

// TestFailureLosesNoTag: neither a newer commit of Dev nor a higher tag
// overtakes a release whose capture was disturbed, at whatever write.
func TestFailureLosesNoTag(t *testing.T) {
	start := func(t *testing.T) *shop {
		s := newShop(t, capturing("{capture: [sync, tag]}"))
		s.tag("v0.1.0", s.tip())
		s.settle(func() *Engine { return s.engine(nil) })
		s.tag("v1.0.0", s.grow("release"))
		s.tag("v1.1.0", s.grow("another release"))
		s.grow("next")
		s.argo.follow(t)
		return s
	}
	want := []string{"v0.1.0", "v1.0.0", "v1.1.0", "v1.2.0"}
	clean := start(t)
	before := clean.registries["stage"].Writes()
	clean.settle(func() *Engine { return clean.engine(nil) })
	for n := range clean.registries["stage"].Writes() - before {
		t.Run(fmt.Sprint("stage/", n+1), func(t *testing.T) {
			s := start(t)
			s.registries["stage"].FailAt(n+1, registrytest.Lost)
			s.settle(func() *Engine { return s.engine(nil) })
			if diff := cmp.Diff(want, s.snapshots()); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
		})
	}
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint("git/", n), func(t *testing.T) {
			s := start(t)
			repo := gitrepotest.Faulty(s.server.Client())
			repo.LosePush(n)
			s.settle(func() *Engine { return s.engine(repo) })
			if diff := cmp.Diff(want, s.snapshots()); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDefinite: what would fail again holds nothing up; what may be different
// next time does.
func TestDefinite(t *testing.T) {
	missing := &MissingImageError{Reference: "a", Err: fmt.Errorf("registry a: %w", registry.ErrNotFound)}
	away := &MissingImageError{Reference: "b", Err: fmt.Errorf("registry b: %w", registry.ErrUnreachable)}
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"configuration", stepError("capture", sideConfig, errors.New("no environments")), true},
		{"render", stepError("capture", sideRender, errors.New("no such file")), true},
		{"image missing", stepError("capture", sideRegistry, errors.Join(missing)), true},
		{"several missing", stepError("capture", sideRegistry, errors.Join(missing, missing)), true},
		{"one missing, one registry away", stepError("capture", sideRegistry, errors.Join(missing, away)), false},
		{"not allowed", stepError("capture", sideRegistry, &MissingImageError{Err: registry.ErrUnauthorized}), false},
		{"source damaged", stepError("capture", sideRegistry, fmt.Errorf("x: %w", &mirror.Error{Side: mirror.SideSource, Err: registry.ErrNotFound})), true},
		{"destination without repository", stepError("capture", sideRegistry, &mirror.Error{Side: mirror.SideDestination, Err: registry.ErrNotFound}), false},
		{"out of time", stepError("capture", sideRegistry, context.DeadlineExceeded), false},
		{"git", stepError("capture", sideGit, errors.New("push: 502")), false},
		{"a refusal", &RefusedError{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := definite(test.err); got != test.want {
				t.Errorf("definite: %v, want %v", got, test.want)
			}
		})
	}
}

// TestIncompleteMirror: a promotion whose images cannot be copied is named as what
// it is: the place they are to go refuses them, or the one they come from has lost
// them.
func TestIncompleteMirror(t *testing.T) {
	s := newShop(t, gitrepotest.Files{"propagator.yaml": manualProd})
	s.settle(func() *Engine { return s.engine(nil) })
	s.commit(gitrepotest.Files{"propagator.yaml": configuration}) // Prod is promoted by itself now
	for _, test := range []struct {
		reason  Reason
		arrange func()
		says    string
	}{
		{MirrorIncomplete, func() { s.registries["prod"].FailAt(1, registrytest.Lost) }, "destination"},
		{ImageMissing, func() { s.registries["stage"] = registrytest.Faulty(registry.NewMemory("stage.example/shop")) }, "source"},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			test.arrange()
			result, err := s.engine(nil).Reconcile(t.Context())
			if err == nil || !hasWait(result.Waits, "prod", test.reason) {
				t.Fatalf("waits %v, error %v", result.Waits, err)
			}
			for _, w := range result.Waits {
				if w.Reason == test.reason && (w.Version != "shop/v0.1.0" || !strings.Contains(w.Detail, test.says)) {
					t.Errorf("wait %s", w)
				}
			}
		})
	}
}
