package gitrepo_test

import (
	"errors"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestMemory(t *testing.T) {
	gitrepotest.Suite(t, func(*testing.T) gitrepotest.Fixture {
		repo := gitrepo.NewMemory("memory:shop")
		return gitrepotest.Fixture{
			Client:     func() gitrepo.Repo { return repo.Client() },
			Reject:     func(text string) { repo.Reject(func(gitrepo.Push) error { return errors.New(text) }) },
			RoundTrips: repo.RoundTrips,
			Filters:    true,
		}
	})
}
