package cli_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func TestBadArguments(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"stauts"}, []string{`no command "stauts"`, `did you mean "status"`}},
		{"unknown verb", []string{"snapshot", "make"}, []string{`no command "make"`}},
		{"unknown flag", []string{"status", "--colour"}, []string{"--colour", "propagator status --help"}},
		{"no environment", []string{"promote"}, []string{"propagator promote ENVIRONMENT [VERSION]"}},
		{"unknown environment", []string{"promote", "qa"}, []string{`no environment "qa"; there are dev, stage, prod`}},
		{"the first environment", []string{"promote", "dev"}, []string{"dev follows the branch main by itself"}},
		{"history of the first", []string{"history", "dev"}, []string{"dev follows the branch main by itself"}},
		{"no version", []string{"promote", "stage", "newest"}, []string{`"newest" is not a snapshot version`}},
		{"another pipeline's version", []string{"snapshot", "show", "other/v1.0.0"}, []string{`belongs to pipeline "other"`}},
		{"rollback without reason", []string{"promote", "stage", "--rollback"}, []string{"recorded with its reason", "--reason"}},
		{"reason without rollback", []string{"promote", "stage", "--reason", "because"}, []string{"--rollback, an --override or a --skip only"}},
		{"no such format", []string{"status", "-o", "xml"}, []string{"table, json, yaml"}},
		{"two repositories", []string{"status", "-r", "a", "-r", "b"}, []string{"one repository at a time"}},
		{"no such branch or tag", []string{"snapshot", "create", "--commit", "nowhere"}, []string{"no such branch or tag", "git rev-parse nowhere"}},
		{"no such application", []string{"render", "dev", "paymnets"}, []string{`no application "paymnets"; there are orders, web`}},
		{"a directory without a pipeline", []string{"render", "dev", "--dir", "."}, []string{"there is no propagator.yaml"}},
		{"negative limit", []string{"history", "stage", "-n", "-1"}, []string{"write 0 for all"}},
		{"registry of nothing", []string{"init", "--registry", "qa=qa.registry.example"}, []string{"no such environment"}},
		{"registry with a scheme", []string{"init", "--name", "shop", "--registry", "dev=https://registry.example"}, []string{"registries.dev.url"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			w.fails(2, test.args, test.want...)
		})
	}
}

func TestVariables(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	env := w.env
	w.env = append(slices.Clone(env), "PROPAGATOR_OUTPUT=json")
	if out := w.must("status"); !strings.HasPrefix(out, "{") {
		t.Errorf("PROPAGATOR_OUTPUT was ignored:\n%s", out)
	}
	w.env = append(slices.Clone(env), "PROPAGATOR_LIMIT=many")
	w.fails(2, []string{"history", "stage"}, "PROPAGATOR_LIMIT")
	w.env = slices.DeleteFunc(slices.Clone(env), func(s string) bool { return s == "USER=ada" })
	w.fails(2, []string{"snapshot", "create"}, "nobody to name", "--actor")
	w.env = append(w.env, "PROPAGATOR_ACTOR=the pipeline of CI")
	w.must("snapshot", "create")
}

func TestInitNeverOverwrites(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "propagator.yaml")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(2, []string{"init", "--name", "shop", "--dir", dir}, "exists and is not overwritten")
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestOriginIsTheDefault(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	dir := t.TempDir()
	t.Chdir(dir)
	w.env = slices.DeleteFunc(w.env, func(s string) bool { return strings.HasPrefix(s, "PROPAGATOR_REPOSITORY=") })
	w.fails(2, []string{"status"}, "is not in a git checkout", "--repository")
	gitrepotest.Git(t, dir, "", "init", "--quiet")
	gitrepotest.Git(t, dir, "", "remote", "add", "origin", w.url)
	w.must("status")
}

func TestMalformedConfiguration(t *testing.T) {
	w := newWorld(t)
	w.commit(gitrepotest.Files{"propagator.yaml": strings.Replace(strings.Replace(pipeline(), "registry: stage", "registry: nowhere", 1), "kind: Pipeline", "kind: Pipe", 1)})
	for _, command := range [][]string{{"status"}, {"snapshot", "list"}, {"promote", "stage"}} {
		w.fails(2, command, "propagator.yaml:4: kind: ", "propagator.yaml:34: environments[1].registry: ", "docs/configuration.md")
	}
	w = newWorld(t)
	w.commit(gitrepotest.Files{"README.md": "nothing"})
	w.fails(2, []string{"status"}, "propagator.yaml", "propagator init")
	w.fails(1, []string{"status", "--branch", "trunk"}, "no branch trunk", "--branch")
}

func TestWrongCredentials(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	server := gitrepotest.Server(t, githttp.Options{Authorize: func(_, password string, _ bool) bool { return password == "right" }})
	server.Init("shop.git")
	const secret = "hunter2-and-more"
	for _, test := range []struct {
		name string
		env  []string
	}{
		{"none", []string{"PROPAGATOR_REPOSITORY=" + server.URL + "/shop.git"}},
		{"wrong", []string{"PROPAGATOR_REPOSITORY=" + server.URL + "/shop.git", "PROPAGATOR_GIT_USERNAME=ada", "PROPAGATOR_GIT_PASSWORD=" + secret}},
		{"in the address", []string{"PROPAGATOR_REPOSITORY=" + strings.Replace(server.URL, "http://", "http://ada:"+secret+"@", 1) + "/shop.git"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t, w.env = t, append(test.env, "PROPAGATOR_VERBOSE=true")
			r := w.fails(1, []string{"status"}, "not authorized", "--git-password-file", "PROPAGATOR_GIT_PASSWORD")
			if strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("a secret was printed:\n%s%s", r.stdout, r.stderr)
			}
		})
	}
}

// nobody is the address of a server that is gone.
func nobody(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	return server.URL
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	gone := nobody(t)
	env := w.env
	w.env = append(slices.Clone(env), "PROPAGATOR_REPOSITORY=") // only --repository counts
	w.fails(1, []string{"status", "-r", gone + "/shop.git"}, "unreachable", gone, "git ls-remote")

	w.fails(1, []string{"mirror", "verify", "stage", "v0.1.0", "-r", w.url, "--registry-endpoint", "stage.registry.example=" + gone},
		"stage.registry.example/shop", "unreachable", "--registry-endpoint")
	w.fails(1, []string{"promote", "stage", "-r", w.url, "--registry-endpoint", "stage.registry.example=" + gone},
		"promote shop/v0.1.0 to stage: registry: ", "--registry-endpoint stage.registry.example=")
	w.fails(1, []string{"snapshot", "verify", "v0.1.0", "-r", w.url, "--registry-endpoint", "stage.registry.example=" + gone}, "unreachable")
	if refs := w.git.Git("shop.git", "for-each-ref", "--format=%(refname)"); strings.Contains(refs, "environments/") {
		t.Errorf("a failed promotion moved something: %s", refs)
	}
	w.env = env
	w.registries["stage"].Deny(func(*http.Request) bool { return true })
	w.fails(1, []string{"promote", "stage"}, "not authorized", "docker login stage.registry.example")
	w.golden("unreachable.txt")
}

// TestPushRejected: the git server lets the tag through and protects the branch
// against us. The push has both, so neither may be there afterwards; once the
// right is given, the same command finishes the work.
func TestPushRejected(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(strings.Replace(pipeline(), "promote: manual", "promote: auto", 1), "1.0"))
	const protect = `case "$1" in refs/heads/environments/*) echo "protected branch: ask the release team" >&2; exit 1;; esac`
	w.git.Hook("shop.git", "update", protect)
	before := w.git.Git("shop.git", "for-each-ref")
	w.fails(1, []string{"snapshot", "create"},
		"git repository "+w.url, "push rejected", "protected branch: ask the release team", "hint: the server does not let you push")
	if after := w.git.Git("shop.git", "for-each-ref"); after != before {
		t.Errorf("half a push went through:\n%s", after)
	}
	w.git.Hook("shop.git", "update", "exit 0")
	w.must("snapshot", "create")
	refs := w.git.Git("shop.git", "for-each-ref", "--format=%(refname)")
	for _, ref := range []string{"refs/tags/shop/v0.1.0", "refs/heads/environments/stage"} {
		if !strings.Contains(refs, ref) {
			t.Errorf("%s is missing:\n%s", ref, refs)
		}
	}
}

// TestMissingImage: an image that CI has not pushed. The message names it and
// who uses it, and nothing was written anywhere.
func TestMissingImage(t *testing.T) {
	w := newWorld(t)
	commit := w.commit(shop(pipeline(), "9.9"))
	before := w.git.Git("shop.git", "for-each-ref")
	w.writes()
	for _, args := range [][]string{{"snapshot", "create"}, {"snapshot", "create", "--dry-run"}} {
		w.fails(1, args, "IMAGE_MISSING", "dev.registry.example/shop/orders:9.9", "dev/orders, prod/orders, stage/orders", commit.Short(), "nothing was written")
	}
	if after := w.git.Git("shop.git", "for-each-ref"); after != before {
		t.Errorf("refs changed:\n%s", after)
	}
	if n := w.writes(); n != 0 {
		t.Errorf("%d writes reached the registries", n)
	}
	w.golden("missing-image.txt")
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.fails(3, []string{"promote", "stage"}, "refused: ", "UNKNOWN_SNAPSHOT", "next: propagator snapshot create")
	w.fails(3, []string{"render", "stage"}, "UNKNOWN_SNAPSHOT", "never promoted")
	w.must("snapshot", "create")
	w.fails(3, []string{"snapshot", "create"}, "ALREADY_THERE")
	for _, args := range [][]string{
		{"promote", "stage", "v7.0.0"}, {"snapshot", "show", "v7.0.0"}, {"snapshot", "verify", "v7.0.0"}, {"mirror", "verify", "stage", "v7.0.0"}, {"render", "stage", "--snapshot", "v7.0.0"},
	} {
		w.fails(3, args, "propagator: refused: ", "shop/v7.0.0: UNKNOWN_SNAPSHOT")
	}
	w.must("promote", "stage")
	w.fails(3, []string{"promote", "stage"}, "ALREADY_THERE")
	w.fails(3, []string{"promote", "prod"}, "NOT_VALIDATED", "propagator status")
	w.fails(3, []string{"promote", "stage", "--rollback", "--reason", "why not"}, "NOT_VALIDATED", "ran nothing older")
	w.golden("refused.txt")
}

// tamper replaces the snapshot's lock, or another file, in a tag of its own.
func (w *world) tamper(version, file string, change func(string) string) {
	w.t.Helper()
	repo := openRepo(w.t, w.url)
	refs := gitrepotest.MustRefs(w.t, repo)
	id := refs[gitrepo.Tags+"shop/v0.1.0"]
	gitrepotest.MustFetch(w.t, repo, gitrepo.FetchOptions{Depth: 1}, id)
	commit, err := gitrepo.ReadCommit(repo, id)
	if err != nil {
		w.t.Fatal(err)
	}
	lock := w.git.Git("shop.git", "show", "shop/v0.1.0:"+snapshot.LockFile)
	files := map[string][]byte{snapshot.LockFile: []byte(strings.ReplaceAll(lock, "shop/v0.1.0", version) + "\n")}
	old := w.git.Git("shop.git", "show", "shop/v0.1.0:"+file) + "\n"
	if file == snapshot.LockFile {
		old = string(files[file])
	}
	files[file] = []byte(change(old))
	tree, objects, err := gitrepo.WriteFiles(repo, commit.Tree, files)
	if err != nil {
		w.t.Fatal(err)
	}
	commit.Tree = tree
	forged := gitrepo.NewCommit(commit)
	gitrepotest.MustPush(w.t, repo, gitrepo.Push{
		Updates: []gitrepo.Update{{Ref: gitrepo.Tags + version, New: forged.ID()}},
		Objects: append(objects, forged),
	})
}

// TestTampered: snapshots that somebody else wrote. The damaged one is
// refused, and verify says what is wrong with it.
func TestTampered(t *testing.T) {
	same := func(s string) string { return s }
	for _, test := range []struct {
		name, file string
		change     func(string) string
		want       []string // of verify
		unreadable bool
	}{
		{"a tag where a digest belongs", snapshot.LockFile, func(s string) string {
			i := strings.Index(s, "digest: sha256:")
			return s[:i] + `digest: "1.0"` + s[i+len("digest: sha256:")+64:]
		}, []string{"FAIL  lock", `"1.0" is a tag`}, true},
		{"the tag of another version", snapshot.LockFile, func(s string) string {
			return strings.Replace(s, "version: shop/v0.2.0", "version: shop/v0.1.0", 1)
		}, []string{"FAIL  lock", "not a snapshot commit"}, true},
		{"a changed manifest", "envs/prod/orders/deployment.yaml", func(s string) string {
			return strings.Replace(s, "replicas: 3", "replicas: 0", 1)
		}, []string{"ok    lock", "FAIL  tree", "FAIL  commit", "FAIL  renders", "prod/orders: renders to"}, false},
		{"another commit message", "propagator.yaml", same, []string{"ok    tree", "FAIL  commit"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.commit(shop(pipeline(), "1.0"))
			w.must("snapshot", "create")
			w.tamper("shop/v0.2.0", test.file, test.change)
			r := w.fails(4, []string{"snapshot", "verify", "v0.2.0"}, "checks failed")
			for _, want := range test.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("verify lacks %q:\n%s", want, r.stdout)
				}
			}
			if !test.unreadable {
				w.golden("tampered-" + strings.ReplaceAll(test.name, " ", "-") + ".txt")
				return
			}
			for _, args := range [][]string{{"promote", "stage", "v0.2.0"}, {"snapshot", "show", "v0.2.0"}, {"render", "stage", "--snapshot", "v0.2.0"}, {"mirror", "copy", "stage", "v0.2.0"}} {
				if r := w.run(args...); r.code == 0 {
					t.Errorf("%v took a damaged snapshot:\n%s", args, r.stdout)
				}
			}
			// The good one is still there to be looked at.
			w.must("snapshot", "verify", "v0.1.0")
			w.must("snapshot", "list")
			w.golden("tampered-" + strings.ReplaceAll(test.name, " ", "-") + ".txt")
		})
	}
}

// TestForeignLedger: a person wrote to an environment's branch.
func TestForeignLedger(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	w.must("promote", "stage")
	gitrepotest.Grow(t, openRepo(t, w.url), gitrepo.Heads+"environments/stage", gitrepotest.Files{"quick": "fix"})
	w.fails(4, []string{"history", "stage"}, "was not written by Propagator", "protect it")
	w.fails(3, []string{"promote", "stage"}, "LEDGER_UNREADABLE")
	if out := w.must("status"); !strings.Contains(out, "unreadable") {
		t.Errorf("status:\n%s", out)
	}
	w.golden("foreign-ledger.txt")
}

func TestIncompleteMirror(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	stage := w.registries["stage"]
	var digest string
	stage.Requests()
	w.must("mirror", "verify", "stage", "v0.1.0")
	for _, request := range stage.Requests() {
		if _, d, ok := strings.Cut(request, "/shop/web/blobs/"); ok {
			digest = max(digest, d) // requests are in no order
		}
	}
	stage.DeleteBlob("shop/web", digest)
	r := w.fails(4, []string{"mirror", "verify", "stage", "v0.1.0"}, "1 of 3 images not complete in stage.registry.example/shop", "propagator mirror copy stage shop/v0.1.0")
	if !strings.Contains(r.stdout, "INCOMPLETE") || !strings.Contains(r.stdout, digest) {
		t.Errorf("the report does not say what is missing:\n%s", r.stdout)
	}
	r = w.fails(4, []string{"snapshot", "verify", "v0.1.0"}, "1 of 5 checks failed")
	if !strings.Contains(r.stdout, "FAIL  images of stage") {
		t.Errorf("verify:\n%s", r.stdout)
	}
	w.must("mirror", "copy", "stage", "shop/v0.1.0")
	w.must("mirror", "verify", "stage", "v0.1.0")
	w.golden("incomplete.txt")
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.commit(shop(pipeline(), "1.0"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := w.runIn(ctx, "snapshot", "create"); r.code != 130 || !strings.Contains(r.stderr, "interrupted") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}

// TestLostRace: somebody else moves the branch between look and push.
func TestLostRace(t *testing.T) {
	var w *world
	armed, raced := false, false
	w = newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if armed && !raced && strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
				raced = true
				w.git.Git("shop.git", "update-ref", gitrepo.Heads+"environments/stage", "main")
			}
			next.ServeHTTP(rw, r)
		})
	})
	w.commit(shop(pipeline(), "1.0"))
	w.must("snapshot", "create")
	armed = true
	w.fails(1, []string{"promote", "stage"}, "environments/stage", "run the same command again")
}
