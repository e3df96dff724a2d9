package merge_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/merge"
)

// randomText makes a text of lines, some of which occur often, as in YAML.
func randomText(rnd *rand.Rand, lines, alphabet int) []string {
	out := make([]string, lines)
	for i := range out {
		out[i] = randomLine(rnd, alphabet)
	}
	return out
}

func randomLine(rnd *rand.Rand, alphabet int) string {
	if rnd.IntN(4) == 0 {
		return fmt.Sprintf("common %d\n", rnd.IntN(5))
	}
	return fmt.Sprintf("line %d\n", rnd.IntN(alphabet))
}

// randomEdit changes a text in a few places.
func randomEdit(rnd *rand.Rand, text []string, alphabet int) []string {
	out := append([]string(nil), text...)
	for range 1 + rnd.IntN(4) {
		at := rnd.IntN(len(out) + 1)
		remove := min(rnd.IntN(4), len(out)-at)
		out = append(out[:at:at], append(randomText(rnd, rnd.IntN(4), alphabet), out[at+remove:]...)...)
	}
	return out
}

// gitMergeFile merges with git: the text, and whether it is clean.
func gitMergeFile(t *testing.T, dir, base, ours, theirs string) (string, bool) {
	t.Helper()
	for name, text := range map[string]string{"base": base, "ours": ours, "theirs": theirs} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "git", "merge-file", "-p", "-q", "ours", "base", "theirs")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() < 1 || cmd.ProcessState.ExitCode() > 127 {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// merge-file and merge-tree find their diffs in different ways (Myers,
// histogram). Where lines repeat, there are texts that they merge differently;
// we follow merge-file.
func TestTextAsGitMergeFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test repeats
	clean := 0
	for i := range 60 {
		alphabet := []int{1 << 20, 200, 20}[i%3]
		b := randomText(rnd, rnd.IntN(60), alphabet)
		base, ours, theirs := text(b), text(randomEdit(rnd, b, alphabet)), text(randomEdit(rnd, b, alphabet))
		if i%7 == 0 {
			ours = strings.TrimSuffix(ours, "\n")
		}
		want, wantClean := gitMergeFile(t, dir, base, ours, theirs)
		s := newStore()
		r := s.merged(t, s.tree(t, files{"f": base}), s.tree(t, files{"f": ours}), s.tree(t, files{"f": theirs}), merge.Options{})
		got := s.read(t, r.Tree)["f"]
		if wantClean {
			clean++
		}
		if r.Clean() != wantClean || wantClean && got != want {
			t.Errorf("%d: base %q\nours %q\ntheirs %q\ngit %v %q\ngot %v %q", i, base, ours, theirs, wantClean, want, r.Clean(), got)
		}
	}
	if clean < 15 {
		t.Errorf("only %d of 60 are clean: the test says little", clean)
	}
}

func text(lines []string) string { return strings.Join(lines, "") }

// All of git's merge of a tree: many files, each changed by both sides, in one
// merge.
func TestTreesAsGitMergeTree(t *testing.T) {
	t.Parallel()
	const n = 400
	rnd := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test repeats
	sides := [3]files{{}, {}, {}}
	for i := range n {
		ext := []string{"txt", "yaml"}[i%2]
		path := fmt.Sprintf("dir%d/f%d.%s", i%9, i, ext)
		b := randomText(rnd, 1+rnd.IntN(60), 1<<20)
		sides[0][path], sides[1][path], sides[2][path] = text(b), text(randomEdit(rnd, b, 1<<20)), text(randomEdit(rnd, b, 1<<20))
		switch i % 20 {
		case 1:
			sides[1][path] = "[x]" + sides[0][path]
		case 2:
			sides[2][path] = "[x]" + sides[0][path]
		case 3:
			sides[2][path] = sides[1][path]
		case 4:
			sides[1][path] = sides[0][path]
		case 5:
			sides[2][path] = sides[0][path]
		case 6:
			delete(sides[1], path)
			sides[2][path] = sides[0][path]
		case 7:
			delete(sides[2], path)
		case 8:
			delete(sides[0], path)
			delete(sides[1], path)
		case 9:
			delete(sides[0], path)
		}
	}
	dir := t.TempDir()
	gitrepotest.Git(t, dir, "", "init", "-q", "--bare", ".")
	var stream strings.Builder
	for i, name := range []string{"base", "ours", "theirs"} {
		fmt.Fprintf(&stream, "commit refs/heads/%s\nmark :%d\ncommitter A <a@example.com> 1700000000 +0000\ndata 0\n", name, i+1)
		if i > 0 {
			stream.WriteString("from :1\ndeleteall\n")
		}
		for path, content := range sides[i] {
			content, executable := strings.CutPrefix(content, "[x]")
			mode := "100644"
			if executable {
				mode = "100755"
			}
			fmt.Fprintf(&stream, "M %s inline %s\ndata %d\n%s\n", mode, path, len(content), content)
		}
	}
	gitrepotest.Git(t, dir, stream.String(), "fast-import", "--quiet")

	cmd := exec.CommandContext(t.Context(), "git", "-c", "merge.renames=false", "merge-tree", "--write-tree", "--name-only", "--no-messages", "ours", "theirs")
	cmd.Dir = dir
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("git merge-tree: %v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	wantConflicts := lines[1:]
	want := map[string]string{}
	for line := range strings.SplitSeq(gitrepotest.Git(t, dir, "", "ls-tree", "-r", lines[0]), "\n") {
		entry, path, _ := strings.Cut(line, "\t")
		want[path] = entry
	}

	s := newStore()
	r := s.merged(t, s.tree(t, sides[0]), s.tree(t, sides[1]), s.tree(t, sides[2]), merge.Options{})
	var conflicts []string
	for _, c := range r.Conflicts {
		conflicts = append(conflicts, c.Path)
	}
	conflicts = slices.Compact(conflicts)
	slices.Sort(wantConflicts)
	if diff := cmp.Diff(wantConflicts, conflicts); diff != "" {
		t.Errorf("conflicts (-git +ours):\n%s", diff)
	}
	if len(wantConflicts) > n*3/4 {
		t.Errorf("%d of %d files have conflicts: the test says little", len(wantConflicts), n)
	}
	all, err := merge.Diff(s, "", r.Tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if got := fmt.Sprintf("%s blob %s", c.NewMode, c.NewID); got != want[c.Path] && !slices.Contains(wantConflicts, c.Path) {
			t.Errorf("%s: %s, git has %s", c.Path, got, want[c.Path])
		}
		delete(want, c.Path)
	}
	for path := range want {
		if !slices.Contains(wantConflicts, path) {
			t.Errorf("%s is missing", path)
		}
	}
}
