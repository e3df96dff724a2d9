package snapshot

import (
	"errors"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

const broken = "kind: Pipeline\n"

func TestReadCurrent(t *testing.T) {
	stageless := configuration[:strings.LastIndex(configuration, "- {name: stage")]
	type step struct{ tag, config string }
	for _, test := range []struct {
		name  string
		steps []step // commits of main in order, each tagged when it has a tag
		hide  string
		want  int // environments; 0 is an error
		fault bool
		says  string
	}{
		{"tip", []step{{"", configuration}}, "", 2, false, ""},
		{"tip before any snapshot", []step{{"shop/v0.1.0", configuration}, {"", stageless}}, "", 1, false, ""},
		{"broken", []step{{"shop/v0.1.0", configuration}, {"", broken}}, "", 2, true, ""},
		{"broken: the newest by version", []step{{"shop/v0.10.0", configuration}, {"shop/v0.9.0", stageless}, {"", broken}}, "", 2, true, ""},
		{"removed", []step{{"shop/v0.1.0", configuration}, {"", "none"}}, "", 2, true, ""},
		{"names another branch", []step{{"shop/v0.1.0", configuration}, {"", configuration + "source: {branch: trunk}\n"}}, "", 2, true, ""},
		{"names another branch, no snapshot", []step{{"", configuration + "source: {branch: trunk}\n"}}, "", 0, false, "start with --branch trunk"},
		{"broken, no snapshot", []step{{"", broken}}, "", 0, false, config.File},
		{"broken, tags of two pipelines", []step{{"shop/v0.1.0", configuration}, {"web/v0.1.0", configuration}, {"", broken}}, "", 0, false, config.File},
		{"broken there, too", []step{{"shop/v0.1.0", broken}, {"", broken}}, "", 0, false, config.File},
		{"other tags do not count", []step{{"v1.0.0", configuration}, {"", broken}}, "", 0, false, config.File},
		{"no such branch", []step{{"", configuration}}, "refs/heads/main", 0, false, "repository https://git.example/shop.git has no branch main"},
	} {
		t.Run(test.name, func(t *testing.T) {
			repo := gitrepo.NewMemory("https://git.example/shop.git")
			for _, s := range test.steps {
				files := gitrepotest.Files{config.File: s.config}
				if s.config == "none" {
					files = gitrepotest.Files{config.File + "/is": "a folder"}
				}
				// Each commit stands alone, so that a file can become a folder.
				id, list := gitrepotest.Commit(t, objects{}, files, s.tag)
				refs := gitrepotest.MustRefs(t, repo)
				if old := refs["refs/heads/main"]; old != "" {
					commit, err := gitrepo.ReadCommit(stored(list...), id)
					if err != nil {
						t.Fatal(err)
					}
					commit.Parents = []gitrepo.Hash{old}
					object := gitrepo.NewCommit(commit)
					id, list = object.ID(), append(list, object)
				}
				updates := []gitrepo.Update{{Ref: "refs/heads/main", Old: refs["refs/heads/main"], New: id}}
				if s.tag != "" {
					updates = append(updates, gitrepo.Update{Ref: gitrepo.Tags + s.tag, New: id})
				}
				gitrepotest.MustPush(t, repo, gitrepo.Push{Objects: list, Updates: updates})
			}
			refs := gitrepotest.MustRefs(t, repo)
			tip := refs["refs/heads/main"]
			delete(refs, test.hide)
			current, err := ReadCurrent(t.Context(), repo.Client(), refs, "main")
			if test.want == 0 {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error: %v", err)
				}
				return
			}
			if err != nil || len(current.Pipeline.Environments) != test.want || (current.Fault != nil) != test.fault || current.Tip != tip {
				t.Errorf("%+v, %v", current, err)
			}
		})
	}
}

// TestReadCurrentUnknown: a configuration that could not be read is not one
// that is broken.
func TestReadCurrentUnknown(t *testing.T) {
	repo := gitrepo.NewMemory("https://git.example/shop.git")
	id := gitrepotest.Grow(t, repo, "refs/heads/main", gitrepotest.Files{config.File: configuration})
	refs := gitrepo.Refs{"refs/heads/main": "9999999999999999999999999999999999999999", "refs/tags/shop/v0.1.0": id}
	var fault *ConfigError
	if current, err := ReadCurrent(t.Context(), repo.Client(), refs, "main"); !errors.Is(err, gitrepo.ErrNotFound) || errors.As(err, &fault) || current.Pipeline != nil {
		t.Errorf("%+v, %v", current, err)
	}
}
