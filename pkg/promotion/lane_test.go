package promotion

import (
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// TestLaneChoice: of the patches that Prod lacks, Stage, which runs something
// newer, takes the newest that QA has proven. One that QA does not take must not
// keep back the one before.
func TestLaneChoice(t *testing.T) {
	t.Parallel()
	text := strings.Replace(configuration, "- {name: stage, after: [dev],",
		"- {name: qa, after: [dev], path: envs/qa, registry: stage, promote: auto}\n- {name: stage, after: [qa],", 1)
	pipeline, err := config.Parse([]byte(text), config.File)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// history is a ledger in which each of the versions was deployed, given newest first.
	history := func(versions ...string) []snapshot.Entry {
		var entries []snapshot.Entry
		for i, v := range versions {
			when := now.Add(-time.Duration(i+1) * time.Hour)
			entries = append(entries, snapshot.Entry{Event: snapshot.EventDeployed, When: when, Snapshot: version(t, v), Since: when, Deployed: when})
		}
		return entries
	}
	for name, tt := range map[string]struct{ qa, stage, prod, want string }{
		"QA has proven the newest":        {"shop/v0.1.2 shop/v0.1.1 shop/v0.2.0", "shop/v0.2.0", "shop/v0.1.0", "shop/v0.1.2"},
		"QA has proven the one before":    {"shop/v0.1.1 shop/v0.2.0", "shop/v0.2.0", "shop/v0.1.0", "shop/v0.1.1"},
		"QA has proven none":              {"shop/v0.2.0", "shop/v0.2.0", "shop/v0.1.0", "shop/v0.1.2"},
		"Prod has the one before":         {"shop/v0.1.1 shop/v0.2.0", "shop/v0.2.0", "shop/v0.1.1", "shop/v0.1.2"},
		"Prod has all":                    {"shop/v0.1.1 shop/v0.2.0", "shop/v0.2.0", "shop/v0.1.2", ""},
		"Stage has proven the one before": {"shop/v0.1.1 shop/v0.2.0", "shop/v0.2.0 shop/v0.1.1", "shop/v0.1.0", "shop/v0.1.2"},
		"Stage runs the newest":           {"shop/v0.1.1 shop/v0.2.0", "shop/v0.1.2 shop/v0.2.0", "shop/v0.1.0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &State{Now: now, Pipeline: pipeline, Tags: map[snapshot.Version]gitrepo.Hash{}}
			for _, v := range []string{"shop/v0.1.0", "shop/v0.1.1", "shop/v0.1.2", "shop/v0.2.0"} {
				s.Tags[version(t, v)] = gitrepo.Hash(v)
			}
			for name, ledger := range map[string]string{"qa": tt.qa, "stage": tt.stage, "prod": tt.prod} {
				environment, _ := pipeline.Environment(name)
				s.Environments = append(s.Environments, Environment{Environment: environment, Tip: gitrepo.Hash(name), History: history(strings.Fields(ledger)...)})
			}
			stage, _ := s.Environment("stage")
			if got := s.lane(stage); got.String() != tt.want && !(tt.want == "" && got.IsZero()) {
				t.Errorf("the lane is %q, want %q", got, tt.want)
			}
		})
	}
}
