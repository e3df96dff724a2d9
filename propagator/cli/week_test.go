package cli_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// settle does what the hook does, with an Argo CD that deploys everything at once,
// until nothing is left to do.
func (w *world) settle() {
	w.t.Helper()
	engine := &promotion.Engine{Repo: openRepo(w.t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Actor: "propagator"}
	for range 12 {
		engine.Applications = nil
		state, err := engine.Observe(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		engine.Applications = clusterOf(state)
		result, err := engine.Reconcile(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(result.Done) == 0 {
			return
		}
	}
	w.t.Fatal("the hook does not come to an end")
}

// write commits to a branch, on top of it and of what is merged.
func (w *world) write(branch, message string, files gitrepotest.Files, merged ...string) {
	w.t.Helper()
	repo := openRepo(w.t, w.url)
	refs := gitrepotest.MustRefs(w.t, repo)
	var parents []gitrepo.Hash
	for _, name := range append([]string{branch}, merged...) {
		parents = append(parents, refs[gitrepo.Heads+name])
	}
	gitrepotest.MustFetch(w.t, repo, gitrepo.FetchOptions{Depth: 1}, parents...)
	id, objects := gitrepotest.Commit(w.t, repo, files, message, parents...)
	gitrepotest.MustPush(w.t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Heads + branch, Old: parents[0], New: id}}, Objects: objects})
}

// rewrite makes a branch again on top of what it was cut from, with another
// message: a rebase and a force-push.
func (w *world) rewrite(branch string, files gitrepotest.Files) {
	w.t.Helper()
	repo := openRepo(w.t, w.url)
	head := gitrepotest.MustRefs(w.t, repo)[gitrepo.Heads+branch]
	gitrepotest.MustFetch(w.t, repo, gitrepo.FetchOptions{Depth: 2}, head)
	old, err := gitrepo.ReadCommit(repo, head)
	if err != nil {
		w.t.Fatal(err)
	}
	id, objects := gitrepotest.Commit(w.t, repo, files, "Reword the fix", old.Parents[0])
	gitrepotest.MustPush(w.t, repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Heads + "scratch", New: id}}, Objects: objects})
	w.git.Git("shop.git", "update-ref", gitrepo.Heads+branch, string(id))
	w.git.Git("shop.git", "update-ref", "-d", gitrepo.Heads+"scratch")
}

// weekConfiguration lets Stage take what is captured, and keep it as a release.
func weekConfiguration() string {
	return strings.Replace(pipeline(), "promote: manual", "promote: auto\n  admit: release", 1)
}

// orders is the file of Prod's orders with a number of replicas.
func orders(replicas int) gitrepotest.Files {
	return gitrepotest.Files{"envs/prod/orders/deployment.yaml": deployment("orders", replicas, "dev.registry.example/shop/orders:1.0")}
}

// copies is the file of Prod's web shop.
func copies(replicas int, comments ...string) gitrepotest.Files {
	text := deployment("web", replicas, "dev.registry.example/shop/web:1.0", "redis:7")
	for _, comment := range comments {
		text += "# " + comment + "\n"
	}
	return gitrepotest.Files{"envs/prod/web/web.yaml": text}
}

// TestHotfixWeek plays the week of docs/hotfixes.md. The blocks in that page are
// what the commands printed, with ids and times replaced; -update writes them.
func TestHotfixWeek(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(weekConfiguration(), "1.0"))
	w.must("snapshot", "create")
	w.settle()
	w.approve("shop/v0.1.0")
	w.must("promote", "prod")
	w.settle()
	blocks := map[string]string{}
	show := func(name string, commands ...[]string) {
		t.Helper()
		w.transcript.Reset()
		for _, command := range commands {
			if command[0] != "git" {
				w.run(command...)
				typed := w.transcript.String()
				w.transcript.Reset()
				w.transcript.WriteString(strings.Replace(typed, strings.Join(command, " "), quoted(command), 1))
				continue
			}
			out := w.git.Git("shop.git", command[1:]...)
			w.transcript.WriteString("$ " + strings.Join(command, " ") + "\n" + strings.TrimRight(out, "\n") + "\n\n")
		}
		blocks[name] = strings.TrimRight(w.readable(w.transcript.String()), "\n")
	}
	list, status := []string{"hotfix", "list"}, []string{"status"}

	// Monday: three fixes.
	show("start", []string{"hotfix", "start", "pay-timeout"})
	w.must("hotfix", "start", "less-memory")
	w.must("hotfix", "start", "slow-orders")
	w.write("hotfix/pay-timeout", "Wait longer for payments", orders(5))
	w.write("hotfix/less-memory", "Two copies of the web shop are enough", copies(2))
	w.write("hotfix/slow-orders", "More orders at a time", orders(8))
	show("pushed", list)
	w.settle()
	show("composed", list, status)
	show("conflict", []string{"hotfix", "show", "slow-orders"})
	w.approve("shop/v0.1.1")
	show("to-prod", []string{"hotfix", "promote", "pay-timeout"})
	w.settle()
	show("graph-prod", []string{"git", "log", "--graph", "--oneline", "environments/prod"})

	// Tuesday: the conflict is resolved, and a branch rewritten.
	w.write("hotfix/slow-orders", "Merge branch 'hotfix/pay-timeout' into hotfix/slow-orders", orders(8), "hotfix/pay-timeout")
	w.settle()
	show("resolved", list)
	w.rewrite("hotfix/less-memory", copies(2))
	w.settle()
	show("rewritten", []string{"hotfix", "list", "--all"})
	w.approve("shop/v0.1.2")
	w.must("promote", "prod", "v0.1.2")
	w.settle()

	// Wednesday: the way back.
	w.image("dev.registry.example/shop", "orders", "1.1", true)
	w.write("main", "ci: orders 1.1", gitrepotest.Files{"envs/dev/orders/deployment.yaml": deployment("orders", 1, "dev.registry.example/shop/orders:1.1")})
	w.must("snapshot", "create")
	show("refused", []string{"promote", "stage", "v0.2.0"}, []string{"explain", "stage", "v0.2.0"})
	w.write("main", "Orders in Prod (#212)", orders(8)) // pay-timeout and slow-orders, squashed
	show("squashed", list, []string{"hotfix", "show", "pay-timeout"})
	show("finish", []string{"hotfix", "finish", "less-memory"})
	w.must("snapshot", "create")
	w.settle()
	show("accepted", status, []string{"hotfix", "list", "--all"})

	// Thursday: the lane.
	w.must("hotfix", "start", "rate-limit")
	w.write("hotfix/rate-limit", "Limit the rate", copies(2, "rate: 100"))
	w.settle()
	show("lane", status)
	w.approve("shop/v0.1.3")
	w.must("hotfix", "promote", "rate-limit", "--to", "prod")
	w.settle()
	show("returned", status)
	w.must("hotfix", "finish", "rate-limit")
	show("graph-stage", []string{"git", "log", "--first-parent", "--oneline", "-12", "environments/stage"})

	// Friday: an emergency, a revert, and what is not wanted.
	w.must("hotfix", "start", "nobody-can-pay")
	w.write("hotfix/nobody-can-pay", "Take cash", copies(2, "rate: 100", "pay: cash"))
	w.must("hotfix", "compose", "nobody-can-pay")
	w.approve("shop/v0.1.4")
	show("emergency", []string{"hotfix", "promote", "nobody-can-pay", "--to", "prod", "--skip", "stage", "--reason", "nobody can pay"}, []string{"history", "prod", "-n", "1"})
	w.settle()
	show("afterwards", status)
	w.write("main", "Revert \"Two copies of the web shop are enough\"", copies(3, "rate: 100"))
	show("reverted", list)
	show("closed", []string{"hotfix", "close", "less-memory", "--reason", "the shop is busier than we thought"}, []string{"hotfix", "drop", "nobody-can-pay", "--reason", "cash is no solution"}, []string{"hotfix", "list", "--all"})
	w.compareWithPage(blocks)
}

// quoted is a command as one types it.
func quoted(command []string) string {
	var words []string
	for _, word := range command {
		if strings.Contains(word, " ") {
			word = "'" + word + "'"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

var (
	namedCommit = regexp.MustCompile(`\bc0{3,}\d+\b`)
	block       = regexp.MustCompile("(?s)<!-- run: ([a-z-]+) -->\n```console\n.*?\n```")
)

// readable makes the names of ids look like ids again, the same in each run.
func (w *world) readable(text string) string {
	text = namedCommit.ReplaceAllStringFunc(w.normal(text), func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])[:7]
	})
	return strings.ReplaceAll(text, "YYYY-MM-DD HH:MM", "2026-03-02 09:14")
}

func (w *world) compareWithPage(blocks map[string]string) {
	w.t.Helper()
	page := filepath.Join(w.testdata, "..", "..", "..", "docs", "hotfixes.md")
	text, err := os.ReadFile(page)
	if err != nil {
		w.t.Fatal(err)
	}
	seen := map[string]bool{}
	got := block.ReplaceAllStringFunc(string(text), func(old string) string {
		name := block.FindStringSubmatch(old)[1]
		if _, ok := blocks[name]; !ok {
			w.t.Errorf("docs/hotfixes.md shows %q, which is not played", name)
			return old
		}
		seen[name] = true
		return "<!-- run: " + name + " -->\n```console\n" + blocks[name] + "\n```"
	})
	for name := range blocks {
		if !seen[name] {
			w.t.Errorf("docs/hotfixes.md does not show %q", name)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(got, string(text)); diff != "" {
		w.t.Errorf("docs/hotfixes.md (-run +page); -update writes it:\n%s", diff)
	}
}
