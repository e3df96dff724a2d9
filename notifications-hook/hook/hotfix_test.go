package hook

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// TestHotfix: what people push to a hotfix branch goes the whole way, and is
// counted; when it is old and still owed the status warns.
func TestHotfix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, configuration+"hotfixes: {warnAfter: 24h}\n")
		w := start(t, s, func(c *Config) { c.Interval = time.Hour })
		s.deployed("prod", "shop/v0.1.0")
		if got := gauges(t, w.metrics); got["propagator_hotfix_oldest_debt_seconds shop"] != 0 || got["propagator_hotfixes shop debt"] != 0 {
			t.Errorf("counted %v", got)
		}
		repo := s.server.Client()
		refs := gitrepotest.MustRefs(t, repo)
		base := refs["refs/heads/environments/prod"]
		gitrepotest.MustFetch(t, repo, gitrepo.FetchOptions{Depth: 1}, base)
		commit, err := gitrepo.ReadCommit(repo, base)
		if err != nil {
			t.Fatal(err)
		}
		tree, objects, err := gitrepo.WriteFiles(repo, commit.Tree, map[string][]byte{"envs/prod/orders/more.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n")})
		if err != nil {
			t.Fatal(err)
		}
		who := gitrepo.Signature{Name: "Ada", Email: "ada@shop.example", When: time.Now()}
		fix := gitrepo.NewCommit(gitrepo.Commit{Tree: tree, Parents: []gitrepo.Hash{base}, Author: who, Committer: who, Message: "more\n"})
		gitrepotest.MustPush(t, repo, gitrepo.Push{
			Updates: []gitrepo.Update{{Ref: "refs/heads/hotfix/more", New: fix.ID()}}, Objects: append(objects, fix),
		})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s.deployed("prod", "shop/v0.1.1")
		got := gauges(t, w.metrics)
		if age := got["propagator_hotfix_oldest_debt_seconds shop"]; age < 3600 || age > 7200 || got["propagator_hotfixes shop debt"] != 1 || got["propagator_hotfixes shop open"] != 0 {
			t.Errorf("counted %v", got)
		}
		if status, _ := w.status(); len(status.Warnings) != 0 {
			t.Errorf("warned too early: %v", status.Warnings)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		status, _ := w.status()
		if len(status.Warnings) != 1 || status.Warnings[0].Reason != promotion.BackMergeOwed || status.Warnings[0].Environment != "hotfix/more" {
			t.Errorf("warnings: %v", status.Warnings)
		}
	})
}

// gauges are the values of a registry, by name and labels.
func gauges(t *testing.T, m *metrics) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.hotfixes, m.debt)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				name = append(name, label.GetValue())
			}
			values[strings.Join(name, " ")] = metric.GetGauge().GetValue()
		}
	}
	return values
}
