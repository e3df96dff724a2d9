package remote_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// TestNextCommitIsSmall: of a commit that follows one that is here, with one more
// file changed, no more comes than that.
func TestNextCommitIsSmall(t *testing.T) {
	t.Parallel()
	server := gitrepotest.Server(t, githttp.Options{})
	url := server.Init("shop.git")
	writer := open(t, url, remote.Options{})
	files := gitrepotest.Files{}
	for i := range 100 {
		files[fmt.Sprintf("d%d/f%d", i%10, i)] = rand.Text() + rand.Text()
	}
	first := gitrepotest.Grow(t, writer, main, files)
	var sum traffic
	reader := open(t, url, remote.Options{OnRoundTrip: sum.add})
	gitrepotest.MustFetch(t, reader, tip, first)
	whole := sum.received.Load()
	for i := range 3 {
		sum.reset()
		next := gitrepotest.Grow(t, writer, main, gitrepotest.Files{"d1/f1": fmt.Sprint(i)})
		gitrepotest.MustFetch(t, reader, tip, next)
		if got := sum.received.Load(); got > whole/4 {
			t.Errorf("%d bytes for one file, %d for all", got, whole)
		}
		commit, err := gitrepo.ReadCommit(reader, next)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := gitrepo.Lookup(reader, commit.Tree, "d1/f1")
		if err != nil {
			t.Fatal(err)
		}
		if o, err := reader.Object(entry.ID); err != nil || string(o.Data) != fmt.Sprint(i) {
			t.Errorf("the file is %q, %v", o.Data, err)
		}
	}
}
