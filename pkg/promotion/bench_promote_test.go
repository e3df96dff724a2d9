package promotion

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// BenchmarkPromote moves Prod to a snapshot that Stage has proven: look, check,
// mirror (nothing is missing), look again, push. It shows what grows with the
// number of snapshots, and with the bytes of the history. "warm" has looked
// before, as the hook has; "cold" begins with nothing but a URL.
func BenchmarkPromote(b *testing.B) {
	for _, tags := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("tags=%d", tags), func(b *testing.B) {
			s := newBenchShop(b, 5, 0)
			s.capture(b, s.repo(b), benchVersion(b, "shop/v1.0.0"))
			s.addTags(b, tags-1)
			s.benchmarkPromote(b)
		})
	}
	for _, megabytes := range []int{1, 100, 1_000} {
		b.Run(fmt.Sprintf("history=%dMB", megabytes), func(b *testing.B) {
			server := gitrepotest.Server(b, githttp.Options{})
			server.Init(benchRepository)
			writeHistory(b, server.Dir(benchRepository), megabytes)
			s := growBenchShop(b, server, 5)
			s.capture(b, s.repo(b), benchVersion(b, "shop/v1.0.0"))
			s.benchmarkPromote(b)
		})
	}
}

func (s *benchShop) benchmarkPromote(b *testing.B) {
	people := s.repo(b)
	for _, warm := range []bool{true, false} {
		name := "cold"
		if warm {
			name = "warm"
		}
		b.Run(name, func(b *testing.B) {
			hook := s.engine(s.counted(b))
			s.reset()
			for b.Loop() {
				b.StopTimer()
				s.aside.Store(true)
				version := s.prove(b, people)
				if warm {
					s.observe(b, hook)
				} else {
					hook = s.engine(s.counted(b))
				}
				s.aside.Store(false)
				b.StartTimer()
				state := s.observe(b, hook)
				step, err := PlanRequest(state, Request{Environment: "prod", Version: version})
				if err != nil {
					b.Fatal(err)
				}
				if err := hook.Execute(b.Context(), state, step); err != nil {
					b.Fatal(err)
				}
			}
			s.report(b)
		})
	}
}

// prove brings another snapshot to Stage, where it is deployed and healthy.
func (s *benchShop) prove(b *testing.B, people gitrepo.Repo) snapshot.Version {
	b.Helper()
	refs := gitrepotest.MustRefs(b, people, "refs/heads/main")
	gitrepotest.Grow(b, people, "refs/heads/main", gitrepotest.Files{"note": string(refs["refs/heads/main"])})
	s.capture(b, people, snapshot.Version{})
	e := s.engine(people)
	state := s.observe(b, e)
	stage, _ := state.Environment("stage")
	evidence := snapshot.Evidence{Destination: "in-cluster/shop-stage", Revision: stage.Snapshot.ID, Health: "Healthy", FinishedAt: s.clock}
	step := Step{Kind: Record, Environment: "stage", Version: stage.Current().Snapshot}
	for _, target := range stage.Targets {
		evidence.Application = target.Application
		step.Evidence = append(step.Evidence, evidence)
	}
	if err := e.Execute(b.Context(), state, step); err != nil {
		b.Fatal(err)
	}
	return step.Version
}

func benchVersion(b *testing.B, text string) snapshot.Version {
	b.Helper()
	v, err := snapshot.ParseVersion(text)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// addTags adds tags of older snapshots, each on a commit of its own, and leaves the
// repository as servers keep theirs.
func (s *benchShop) addTags(b *testing.B, count int) {
	b.Helper()
	var stream strings.Builder
	for n := 1; n <= count; n++ {
		fmt.Fprintf(&stream, "commit refs/tags/shop/v0.%d.0\nmark :%d\ncommitter Ada <ada@example.com> %d +0000\ndata 0\n", n, n, 1_700_000_000+60*n)
		if n > 1 {
			fmt.Fprintf(&stream, "from :%d\n", n-1)
		}
		fmt.Fprintf(&stream, "M 100644 inline note\ndata <<.\n%d\n.\n", n)
	}
	gitrepotest.Git(b, s.server.Dir(benchRepository), stream.String(), "fast-import", "--quiet")
	s.server.Git(benchRepository, "gc", "--quiet")
}

// writeHistory gives the branch main so many commits with a megabyte each that
// nothing compresses, and a last one without any of them.
func writeHistory(b *testing.B, dir string, megabytes int) {
	b.Helper()
	reader, writer := io.Pipe()
	go func() {
		stream := bufio.NewWriterSize(writer, 1<<20)
		random, content := rand.NewChaCha8([32]byte{1}), make([]byte, 1_000_000)
		for n := range megabytes + 1 {
			_, _ = fmt.Fprintf(stream, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 0\ndeleteall\n", 1_600_000_000+60*n)
			if n < megabytes {
				_, _ = random.Read(content) // never fails
				_, _ = fmt.Fprintf(stream, "M 100644 inline video/%d.bin\ndata %d\n", n, len(content))
				_, _ = stream.Write(content) // the pipe's error is the reader's, who reports it
				_, _ = fmt.Fprintln(stream)
			}
		}
		_ = writer.CloseWithError(stream.Flush())
	}()
	// Neither compression nor deltas are tried: they would find nothing.
	cmd := exec.CommandContext(b.Context(), "git", "-c", "core.compression=0", "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", "--depth=0")
	cmd.Dir, cmd.Stdin = dir, reader
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
	out, err := cmd.CombinedOutput()
	_ = reader.Close() // ends the writer if git did not read to the end
	if err != nil {
		b.Fatalf("git fast-import: %v\n%s", err, out)
	}
}
