package remote_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
)

// traffic sums round trips and reports them an operation.
type traffic struct{ trips, sent, received atomic.Int64 }

func (s *traffic) add(t remote.RoundTrip) {
	s.trips.Add(1)
	s.sent.Add(t.BytesSent)
	s.received.Add(t.BytesReceived)
}

func (s *traffic) reset() {
	s.trips.Store(0)
	s.sent.Store(0)
	s.received.Store(0)
}

func (s *traffic) report(b *testing.B, n int) {
	b.ReportMetric(float64(s.trips.Load())/float64(n), "roundtrips/op")
	b.ReportMetric(float64(s.sent.Load())/float64(n), "sent-B/op")
	b.ReportMetric(float64(s.received.Load())/float64(n), "received-B/op")
}

// BenchmarkFetchShallow opens a repository and fetches the newest commit with
// its 200 files; the cost must not grow with the history.
func BenchmarkFetchShallow(b *testing.B) {
	for _, commits := range []int{1, 100} {
		b.Run(fmt.Sprintf("history=%d", commits), func(b *testing.B) {
			server := gitrepotest.Server(b, githttp.Options{})
			url := server.Init("shop.git")
			writer := open(b, server.Dir("shop.git"), remote.Options{})
			files := gitrepotest.Files{}
			for i := range 200 {
				files[fmt.Sprintf("envs/e%d/service-%d.yaml", i%3, i)] = strings.Repeat(fmt.Sprintf("key-%d: value\n", i), 20)
			}
			head := gitrepotest.Grow(b, writer, main, files)
			for i := range commits - 1 {
				head = gitrepotest.Grow(b, writer, main, gitrepotest.Files{"envs/e0/service-0.yaml": fmt.Sprint(i)})
			}
			var sum traffic
			for b.Loop() {
				repo := open(b, url, remote.Options{OnRoundTrip: sum.add})
				gitrepotest.MustFetch(b, repo, tip, head)
			}
			sum.report(b, b.N)
		})
	}
}

// BenchmarkPush promotes: one commit with one small file, a tag and a branch.
func BenchmarkPush(b *testing.B) {
	server := gitrepotest.Server(b, githttp.Options{})
	var sum traffic
	repo := open(b, server.Init("shop.git"), remote.Options{OnRoundTrip: sum.add})
	head := gitrepotest.Grow(b, repo, main, gitrepotest.Files{"a": "0"})
	sum.reset()
	for i := 0; b.Loop(); i++ {
		next, objects := gitrepotest.Commit(b, repo, gitrepotest.Files{"a": fmt.Sprint(i)}, "promote", head)
		gitrepotest.MustPush(b, repo, gitrepo.Push{Objects: objects, Updates: []gitrepo.Update{
			{Ref: main, Old: head, New: next}, {Ref: fmt.Sprintf("%sshop/v1.%d.0", gitrepo.Tags, i), New: next},
		}})
		head = next
	}
	sum.report(b, b.N)
}
