package changes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func markdown(t *testing.T, n Notes) string {
	t.Helper()
	var b strings.Builder
	if err := n.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCompose: services that are built from the same change share their commits,
// a tag is a revision, too, and one repository is opened once.
func TestCompose(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	old := h.commit("old")
	tag := gitrepo.NewTag(gitrepo.Tag{Object: old, Type: gitrepo.TypeCommit, Name: "v1", Tagger: gitrepo.Signature{Name: "Ada", Email: "a@example", When: time.Unix(1, 0).UTC()}, Message: "v1\n"})
	gitrepotest.MustPush(t, h.repo, gitrepo.Push{Updates: []gitrepo.Update{{Ref: "refs/tags/v1", New: tag.ID()}}, Objects: []gitrepo.Object{tag}})
	now := h.commit("now", h.commit("between", old))

	repo := gitrepo.NewMemory("memory")
	a := sideOf(t, repo, "v0.1.0", gitrepotest.Files{"envs/prod/a": "1"},
		image("dev.example/shop/orders:1", digest("a"), "", "v1", "prod/orders"),
		image("dev.example/shop/web:1", digest("b"), "", "v1", "prod/web", "dev/web"),
		image("dev.example/shop/tool:1", digest("c"), "", string(now), "prod/tool"),
		image("dev.example/shop/lab:1", digest("0"), "", "v1", "dev/lab"),
		image("redis:7", digest("d"), "", "x", "prod/web"))
	b := sideOf(t, repo, "v0.2.0", gitrepotest.Files{"envs/prod/a": "2"},
		image("dev.example/shop/orders:2", digest("e"), "", string(now), "prod/orders"),
		image("dev.example/shop/web:2", digest("f"), "", string(now), "prod/web", "dev/web"),
		image("dev.example/shop/tool:2", digest("1"), "", string(now), "prod/tool"),
		image("dev.example/shop/lab:2", digest("2"), "", string(now), "dev/lab"),
		image("redis:8", digest("3"), "", "y", "prod/web"))
	opened := 0
	in := Input{Repo: repo, From: a, To: b, Pipeline: b.Pipeline, Open: func(url string) (gitrepo.Reader, error) {
		opened++
		if url != "https://git.example/shop/all.git" {
			t.Errorf("opened %s", url)
		}
		return h.repo.Client(), nil
	}}
	// The two sources have no history in common, which is as rare as it is legal.
	n, err := Compose(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if opened != 1 || len(n.Services) != 2 || len(n.Images) != 4 {
		t.Fatalf("opened %d times: %+v", opened, n)
	}
	if got := n.Services[0]; strings.Join(got.Images, " ") != "orders web" || subjects(got.Log.Commits) != "now, between" || got.Problem != "" {
		t.Errorf("%+v", got)
	}
	if got := n.Services[1]; got.Images[0] != "tool" || got.Problem != "" || len(got.Log.Commits) != 0 {
		t.Errorf("%+v", got)
	}
	text := markdown(t, n)
	for _, want := range []string{"### orders, web\n", "The same code, built again.\n", "| redis | `7` `sha256:dddddddddddd` | `8` `sha256:333333333333` | `x..y` |\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the notes lack %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "lab") {
		t.Error("what only the first environment uses is no part of a release")
	}
	again, err := Compose(t.Context(), in)
	if err != nil || markdown(t, again) != text {
		t.Errorf("the same input gave other notes: %v", err)
	}

	in.Open = func(string) (gitrepo.Reader, error) { return nil, errors.New("no <way>\nsecond line") }
	if n, err = Compose(t.Context(), in); err != nil || n.Services[0].Problem != "no <way>" {
		t.Errorf("%+v %v", n.Services, err)
	}
	if text := markdown(t, n); !strings.Contains(text, "could not be read: no &lt;way&gt;\n") {
		t.Errorf("the notes do not say what is missing:\n%s", text)
	}
}

// TestMarkdownInjection: whatever people wrote into commits, labels, files and
// ledgers, the page keeps its lines.
func TestMarkdownInjection(t *testing.T) {
	t.Parallel()
	const evil = "x\n\n# Approved by the board\n\n<img src=x onerror=alert(1)> [a](javascript:b) `|` @all\x1b[2J"
	bad := &Build{Tag: evil, Digest: digest("a"), Revision: evil, source: evil}
	n := Notes{
		Pipeline: "shop", From: &Release{Version: "shop/v0.1.0"}, To: Release{Version: "shop/v0.2.0", Commit: "x", Branch: evil},
		Images:        []Image{{Name: evil, Change: Changed, From: bad, To: bad, UsedBy: []string{evil}}, {Name: evil, Change: Removed, From: bad}},
		Services:      []Service{{Images: []string{evil}, Repository: evil, From: evil, To: "y", Log: Log{Commits: []Commit{{Subject: evil, Author: evil}}, Gone: []Commit{{}}}}, {Problem: evil}},
		Configuration: Log{Commits: []Commit{{Subject: evil, Author: evil}}},
		Files:         []File{{Path: evil, From: evil, Change: Renamed}, {Path: evil, Change: Added, Environments: []string{evil}}},
		Deployments: []Deployment{{
			Environment: evil,
			Promotions:  []Promotion{{By: evil, ApprovedBy: []string{evil}, Reason: evil, Gates: []Verdict{{evil, evil, evil}}}, {Rollback: true, Reason: evil}},
			Findings:    []Finding{{Result: Rejected, By: evil, Detail: evil}},
		}},
	}
	text := markdown(t, n)
	calm := markdown(t, calmNotes())
	if got, want := strings.Count(text, "\n"), strings.Count(calm, "\n"); got != want {
		t.Errorf("%d lines, %d without what is evil:\n%s", got, want, text)
	}
	for line := range strings.Lines(text) {
		if strings.ContainsAny(line, "<>\x1b") || strings.Contains(strings.ReplaceAll(line, `\[`, ""), "[a") || strings.Contains(line, "@all") {
			t.Errorf("line %q", line)
		}
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 5 {
			t.Errorf("row %q", line)
		}
	}
}

// calmNotes have the same shape, and everything in them is called x.
func calmNotes() Notes {
	x := &Build{Tag: "x", Digest: digest("a"), Revision: "x"}
	return Notes{
		Pipeline: "shop", From: &Release{Version: "shop/v0.1.0"}, To: Release{Version: "shop/v0.2.0", Commit: "x", Branch: "x"},
		Images:        []Image{{Name: "x", Change: Changed, From: x, To: x}, {Name: "x", Change: Removed, From: x}},
		Services:      []Service{{Images: []string{"x"}, Repository: "x", From: "x", To: "y", Log: Log{Commits: []Commit{{Subject: "x"}}, Gone: []Commit{{}}}}, {Problem: "x"}},
		Configuration: Log{Commits: []Commit{{Subject: "x"}}},
		Files:         []File{{Path: "x", From: "x", Change: Renamed}, {Path: "x", Change: Added, Environments: []string{"x"}}},
		Deployments: []Deployment{{
			Environment: "x",
			Promotions:  []Promotion{{By: "x", Reason: "x", Gates: []Verdict{{"x", "x", "x"}}}, {Rollback: true, Reason: "x"}},
			Findings:    []Finding{{Result: Rejected, By: "x"}},
		}},
	}
}

func TestDeploymentOf(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n)*60, 0).UTC() }
	v1, v2 := snapshot.Version{Pipeline: "shop", Minor: 1}, snapshot.Version{Pipeline: "shop", Minor: 2}
	history := []snapshot.Entry{ // newest first
		{Event: snapshot.EventRollback, When: at(7), Snapshot: v1, From: v2, Override: "v2 is bad", Actor: "ada"},
		{Event: snapshot.EventReject, When: at(6), Snapshot: v2, About: v1, Override: "no", Actor: "bob"},
		{Event: snapshot.EventPromote, When: at(5), Snapshot: v2, From: v1},
		{Event: snapshot.EventValidate, When: at(4), Snapshot: v1, About: v1, Gates: []snapshot.Verdict{{Gate: "validation", Result: "pass", Detail: "run 1"}}, Actor: "ci"},
		{Event: snapshot.EventDeployed, When: at(3), Snapshot: v1, Deployed: at(3)},
		{Event: snapshot.EventPromote, When: at(2), Snapshot: v1, Gates: []snapshot.Verdict{{Gate: "soak", Result: "pass"}}, ApprovedBy: []string{"grace"}, Actor: "ada"},
		{Event: snapshot.EventOpen, When: at(1)},
	}
	want := Deployment{
		Environment: "prod", Current: true, HealthyAt: at(3),
		Promotions: []Promotion{
			{When: at(2), By: "ada", Gates: []Verdict{{Gate: "soak", Result: "pass"}}, ApprovedBy: []string{"grace"}},
			{When: at(7), Rollback: true, By: "ada", From: "shop/v0.2.0", Gates: []Verdict{}, ApprovedBy: []string{}, Reason: "v2 is bad"},
		},
		Findings: []Finding{{When: at(4), Result: Passed, By: "ci", Detail: "run 1"}, {When: at(6), Result: Rejected, By: "bob", Detail: "no"}},
	}
	got, ok := DeploymentOf("prod", history, v1)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("deployment (-want +got):\n%s", diff)
	}
	if _, ok := DeploymentOf("prod", history, snapshot.Version{Pipeline: "shop", Minor: 3}); ok {
		t.Error("the ledger knows a snapshot that was never there")
	}
}
