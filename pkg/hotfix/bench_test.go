package hotfix_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/hotfix"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// The size of the repository that benchmarks run on.
const (
	benchFiles    = 5_000
	benchCommits  = 50_000
	benchReleased = 49_000 // the commit that the environment runs
	benchHotfixes = 50
)

// bigRepo is a repository on a real git server, over http on loopback.
type bigRepo struct {
	url                   string
	trips, sent, received atomic.Int64
	debts                 []snapshot.Debt
	want                  []hotfix.Answer
}

// benchPath is one of the files: a hundred directories with fifty each.
func benchPath(i int) string {
	return fmt.Sprintf("envs/e%d/app%02d/file%02d.yaml", i%4, i/4%25, i/100)
}

func benchContent(i int, edit string) string {
	var text strings.Builder
	for n := range 20 {
		fmt.Fprintf(&text, "key-%d-%d: value\n", i, n)
	}
	return text.String() + edit
}

// newBigRepo writes the repository with git fast-import. After the release the
// source branch picks some of the hotfixes, reverts some of those again, changes
// the lines of others, and does not have the rest.
func newBigRepo(b *testing.B) *bigRepo {
	b.Helper()
	server := gitrepotest.Server(b, githttp.Options{})
	s := &bigRepo{url: server.Init("shop.git")}
	var stream strings.Builder
	stream.Grow(32 << 20)
	commit := func(ref string, n int, message, from string) {
		fmt.Fprintf(&stream, "commit %s\nmark :%d\ncommitter Ada <ada@example.com> %d +0000\ndata %d\n%s\n", ref, n, 1_700_000_000+60*n, len(message), message)
		if from != "" {
			fmt.Fprintf(&stream, "from %s\n", from)
		}
	}
	edit := func(i int, text string) {
		fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", benchPath(i), len(text), text)
	}
	const main = "refs/heads/main"
	commit(main, 1, "begin", "")
	for i := range benchFiles {
		edit(i, benchContent(i, ""))
	}
	fixed := func(h int) string { return benchContent(h, fmt.Sprintf("fixed: %d\n", h)) }
	for n := 2; n <= benchCommits; n++ {
		commit(main, n, fmt.Sprint("change ", n), "")
		// The first files are those that hotfixes change.
		i, text := benchHotfixes+n%(benchFiles-benchHotfixes), fmt.Sprint("edit: ", n, "\n")
		if h := (n - benchReleased) / 10; n > benchReleased && h < benchHotfixes {
			first := (n-benchReleased)%10 == 1
			second := (n-benchReleased)%10 == 5
			switch {
			case h%5 <= 2 && first: // picked
				edit(h, fixed(h))
				continue
			case h%5 == 1 && second: // and reverted
				edit(h, benchContent(h, ""))
				continue
			case h%5 == 2 && second: // and improved
				edit(h, benchContent(h, fmt.Sprintf("fixed: better %d\n", h)))
				continue
			case h%5 == 3 && first: // something else in the same place
				edit(h, benchContent(h, fmt.Sprintf("fixed: otherwise %d\n", h)))
				continue
			}
		}
		edit(i, benchContent(i, text))
	}
	commit("refs/heads/environments/prod", benchCommits+1, "promote\n\nPropagator-Event: promote\n", fmt.Sprintf(":%d", benchReleased))
	for h := range benchHotfixes {
		commit(fmt.Sprintf("refs/heads/hotfix/h%02d", h), benchCommits+2+h, "fix", fmt.Sprintf(":%d", benchCommits+1))
		edit(h, fixed(h))
	}
	gitrepotest.Git(b, server.Dir("shop.git"), stream.String(), "fast-import", "--quiet")
	server.Git("shop.git", "commit-graph", "write", "--reachable") // as servers have it
	refs := gitrepotest.MustRefs(b, s.open(b))
	answers := []hotfix.Answer{hotfix.Contained, hotfix.Reverted, hotfix.Contained, hotfix.Unknown, hotfix.Missing}
	for h := range benchHotfixes {
		name := fmt.Sprintf("h%02d", h)
		s.debts = append(s.debts, snapshot.Debt{Hotfix: snapshot.Hotfix{Name: name, Base: refs["refs/heads/environments/prod"], Head: refs["refs/heads/hotfix/"+name]}})
		s.want = append(s.want, answers[h%5])
	}
	return s
}

func (s *bigRepo) open(b *testing.B) gitrepo.Repo {
	b.Helper()
	repo, err := remote.Open(s.url, remote.Options{OnRoundTrip: func(r remote.RoundTrip) {
		s.trips.Add(1)
		s.sent.Add(r.BytesSent)
		s.received.Add(r.BytesReceived)
	}})
	if err != nil {
		b.Fatal(err)
	}
	return repo
}

func (s *bigRepo) reset() {
	s.trips.Store(0)
	s.sent.Store(0)
	s.received.Store(0)
}

func (s *bigRepo) report(b *testing.B) {
	b.ReportMetric(float64(s.trips.Load())/float64(b.N), "roundtrips/op")
	b.ReportMetric(float64(s.sent.Load())/float64(b.N), "sentB/op")
	b.ReportMetric(float64(s.received.Load())/float64(b.N), "recvB/op")
}

// find looks for every hotfix in a commit of the source branch.
func (s *bigRepo) find(b *testing.B, f *hotfix.Finder, r gitrepo.Repo, at gitrepo.Hash) {
	b.Helper()
	ids := []gitrepo.Hash{at}
	for _, d := range s.debts {
		ids = append(ids, d.Base, d.Head)
	}
	gitrepotest.MustFetch(b, r, gitrepo.FetchOptions{Depth: 1}, ids...)
	commit, err := gitrepo.ReadCommit(r, at)
	if err != nil {
		b.Fatal(err)
	}
	for i, d := range s.debts {
		found, err := f.Find(b.Context(), r, d, hotfix.Place{Name: "main", Tree: commit.Tree, Commit: at})
		if err != nil || found.Answer != s.want[i] {
			b.Fatalf("%s is %s, %v; want %s", d.Name, found, err, s.want[i])
		}
	}
}

// BenchmarkHotfixes measures in one repository, which takes its time to write.
func BenchmarkHotfixes(b *testing.B) {
	s := newBigRepo(b)
	b.Run("contained", s.benchmarkContained)
	b.Run("compose", s.benchmarkCompose)
}

// benchmarkContained looks for 50 hotfixes in a release, in a repository of 5 000
// files and 50 000 commits. A fifth each is there, was reverted, was changed
// since, is unknown, and is missing. "cold" begins with nothing but a URL; "warm"
// has looked before, and a commit was added since.
func (s *bigRepo) benchmarkContained(b *testing.B) {
	tip := gitrepotest.MustRefs(b, s.open(b))["refs/heads/main"]
	b.Run("cold", func(b *testing.B) {
		s.reset()
		for b.Loop() {
			s.find(b, new(hotfix.Finder), s.open(b), tip)
		}
		s.report(b)
	})
	b.Run("warm", func(b *testing.B) {
		people, r, f := s.open(b), s.open(b), new(hotfix.Finder)
		gitrepotest.MustFetch(b, people, gitrepo.FetchOptions{Depth: 1}, tip)
		s.find(b, f, r, tip)
		s.reset()
		n := 0
		for b.Loop() {
			b.StopTimer()
			trips, sent, received := s.trips.Load(), s.sent.Load(), s.received.Load()
			n++
			next := gitrepotest.Grow(b, people, "refs/heads/main", gitrepotest.Files{"envs/more.yaml": fmt.Sprint(n)})
			s.trips.Store(trips)
			s.sent.Store(sent)
			s.received.Store(received)
			b.StartTimer()
			s.find(b, f, r, next)
		}
		s.report(b)
	})
}

// benchmarkCompose merges ten hotfixes onto a release of 5 000 files, from a
// client that starts empty and from one that has what it needs.
func (s *bigRepo) benchmarkCompose(b *testing.B) {
	var hotfixes []snapshot.Hotfix
	ids := []gitrepo.Hash{s.debts[0].Base}
	for _, d := range s.debts[:10] {
		hotfixes = append(hotfixes, d.Hotfix)
		ids = append(ids, d.Head)
	}
	compose := func(b *testing.B, r gitrepo.Repo) {
		b.Helper()
		gitrepotest.MustFetch(b, r, gitrepo.FetchOptions{Depth: 1}, ids...)
		base, err := gitrepo.ReadCommit(r, ids[0])
		if err != nil {
			b.Fatal(err)
		}
		c, err := hotfix.Compose(r, base.Tree, "shop/v1.0.0", hotfixes)
		if err != nil || len(c.Hotfixes) != len(hotfixes) {
			b.Fatal(c.Left, err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		s.reset()
		for b.Loop() {
			compose(b, s.open(b))
		}
		s.report(b)
	})
	b.Run("warm", func(b *testing.B) {
		r := s.open(b)
		compose(b, r)
		s.reset()
		for b.Loop() {
			compose(b, r)
		}
		s.report(b)
	})
}
