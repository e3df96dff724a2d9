package gitrepo_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
)

func TestHistory(t *testing.T) {
	store := gitrepo.NewStore()
	var ids []gitrepo.Hash
	for i := range 4 {
		var parents []gitrepo.Hash
		if i > 0 {
			parents = ids[i-1 : i]
		}
		id, objects := gitrepotest.Commit(t, store, gitrepotest.Files{"a": fmt.Sprint(i)}, "commit", parents...)
		store.Put(objects...)
		ids = append(ids, id)
	}
	stranger, objects := gitrepotest.Commit(t, store, gitrepotest.Files{"b": "b"}, "another root")
	store.Put(objects...)
	// A merge whose second parent nobody has.
	unknown := gitrepo.NewBlob([]byte("unknown")).ID()
	c, err := gitrepo.ReadCommit(store, ids[3])
	if err != nil {
		t.Fatal(err)
	}
	c.Parents = []gitrepo.Hash{ids[3], unknown}
	merge := gitrepo.NewCommit(c)
	store.Put(merge)

	for _, test := range []struct {
		tip   gitrepo.Hash
		limit int
		want  int
		err   error
	}{
		{ids[3], 0, 4, nil}, {ids[3], 2, 2, nil}, {ids[3], 9, 4, nil}, {merge.ID(), 0, 5, nil}, {unknown, 0, 0, gitrepo.ErrNotFound},
	} {
		commits, err := gitrepo.FirstParents(store, test.tip, test.limit)
		if len(commits) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s limit %d: %d commits, %v, want %d, %v", test.tip.Short(), test.limit, len(commits), err, test.want, test.err)
		}
	}
	for _, test := range []struct {
		ancestor, descendant gitrepo.Hash
		want                 bool
		err                  error
	}{
		{ids[0], ids[3], true, nil},
		{ids[3], ids[3], true, nil},
		{ids[3], ids[0], false, nil},
		{stranger, ids[3], false, nil},
		{ids[0], merge.ID(), true, nil},
		{unknown, merge.ID(), true, nil},
		{stranger, merge.ID(), false, gitrepo.ErrNotFound},
	} {
		got, err := gitrepo.IsAncestor(store, test.ancestor, test.descendant)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s in %s: %t, %v, want %t, %v", test.ancestor.Short(), test.descendant.Short(), got, err, test.want, test.err)
		}
	}
}
