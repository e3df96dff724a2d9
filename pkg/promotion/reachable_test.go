package promotion

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

// TestReachable walks a history with a merge in it: r–a–m, r–b–m.
func TestReachable(t *testing.T) {
	objects := objectsByID{}
	commit := func(name string, parents ...gitrepo.Hash) gitrepo.Hash {
		id, list := gitrepotest.Commit(t, objects, gitrepotest.Files{name: name}, name, parents...)
		for _, o := range list {
			objects[o.ID()] = o
		}
		return id
	}
	r := commit("r")
	a, b := commit("a", r), commit("b", r)
	m := commit("m", a, b)
	for _, test := range []struct {
		name           string
		starts, wanted []gitrepo.Hash
		without        gitrepo.Hash
		found          map[gitrepo.Hash]bool
		complete       bool
	}{
		{"itself", []gitrepo.Hash{a}, []gitrepo.Hash{a}, "", map[gitrepo.Hash]bool{a: true}, true},
		{"through both parents", []gitrepo.Hash{m}, []gitrepo.Hash{a, b, r}, "", map[gitrepo.Hash]bool{a: true, b: true, r: true}, true},
		{"not a descendant", []gitrepo.Hash{a}, []gitrepo.Hash{m, b}, "", map[gitrepo.Hash]bool{}, true},
		{"several starts", []gitrepo.Hash{a, b}, []gitrepo.Hash{b, m}, "", map[gitrepo.Hash]bool{b: true}, true},
		{"found before the end of what is known", []gitrepo.Hash{m}, []gitrepo.Hash{b}, r, map[gitrepo.Hash]bool{b: true}, true},
		{"beyond what is known", []gitrepo.Hash{m}, []gitrepo.Hash{"elsewhere"}, r, map[gitrepo.Hash]bool{}, false},
		{"no commit", []gitrepo.Hash{m}, []gitrepo.Hash{""}, "", map[gitrepo.Hash]bool{}, true},
		{"nowhere to start", nil, []gitrepo.Hash{a}, "", map[gitrepo.Hash]bool{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			known := objectsByID{}
			for id, o := range objects {
				if id != test.without {
					known[id] = o
				}
			}
			found, complete, err := reachable(known, test.starts, test.wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.found, found); diff != "" || complete != test.complete {
				t.Errorf("complete %v, found (-want +got):\n%s", complete, diff)
			}
		})
	}
}
