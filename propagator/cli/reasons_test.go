package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// designReasons are the reasons that the design promises, by the names that
// people look for.
const designReasons = `ENV_ON_HOLD ENV_FROZEN OUTSIDE_WINDOW NOT_VALIDATED SOAK_NOT_REACHED APPROVAL_MISSING
	HOTFIX_WOULD_BE_LOST HOTFIX_BACKMERGE_OWED IMAGE_MISSING IMAGE_NOT_IN_LOCK FOREIGN_REGISTRY SIGNATURE_MISSING
	MIRROR_INCOMPLETE SUPERSEDED REJECTED ALREADY_THERE RELEASE_IN_PROGRESS HEALTH_UNKNOWN`

// provenElsewhere are reasons that another test brings about, and which.
var provenElsewhere = map[string]string{
	"HOTFIX_WOULD_BE_LOST":  "the tests of package hotfix",
	"HOTFIX_BACKMERGE_OWED": "the tests of package hotfix",
	"SIGNATURE_MISSING":     "the tests of the gate signatures",
}

// gatedPipeline has a Stage and a Prod with more fields.
func gatedPipeline(stage, prod string) string {
	return fmt.Sprintf(`apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
registries:
  dev: {url: dev.registry.example/shop, retention: ephemeral}
  stage: {url: stage.registry.example/shop}
  prod: {url: prod.registry.example/shop}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: stage, after: [dev], path: envs/stage, registry: stage, promote: auto%s}
- {name: prod, after: [stage], path: envs/prod, registry: prod, promote: manual%s}
`, stage, prod)
}

// capture makes the next snapshot, with another image of orders.
func (w *world) capture(configuration, tag string) {
	w.t.Helper()
	w.image("dev.registry.example/shop", "orders", tag, true)
	w.commit(shop(configuration, tag))
	w.must("snapshot", "create")
}

// staged is a pipeline whose first snapshot is deployed to Stage.
func (w *world) staged(stage, prod string) {
	w.t.Helper()
	w.capture(gatedPipeline(stage, prod), "1.0")
	w.deployed()
}

// hookSees lets a hook look at an Argo CD in which everything is deployed but
// for one change, and gives its address.
func (w *world) hookSees(change func(*promotion.Application)) (url string) {
	w.t.Helper()
	engine := &promotion.Engine{Repo: openRepo(w.t, w.url), Registries: &registryremote.Set{Endpoints: w.endpoints}, Actor: "propagator"}
	applications := w.applications(engine)
	for i := range applications {
		change(&applications[i])
	}
	engine.Applications = &cluster{applications}
	seen, err := engine.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := json.Marshal([]hook.Status{{Repository: w.url, Waits: seen.Waits}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "PROPAGATOR_TOKEN=hook-token-1")
	return hookAt(w.t, http.StatusOK, string(answer))
}

// TestEveryReason brings a pipeline into each of the situations that the design
// names, and asks the program why.
func TestEveryReason(t *testing.T) {
	tests := []struct {
		reason  promotion.Reason
		arrange func(w *world) (more []string)
		// asked are the arguments of explain.
		asked []string
		// detail has to say what and where; next what to type, if anything.
		detail []string
		next   string
	}{
		{promotion.EnvOnHold, func(w *world) []string {
			w.staged("", "")
			w.must("hold", "prod", "--reason", "the auditors are here")
			return nil
		}, []string{"prod"}, []string{"the auditors are here"}, "propagator promote prod shop/v0.1.0"},

		{promotion.EnvFrozen, func(w *world) []string {
			w.staged("", "")
			w.must("freeze", "prod", "--until", "2100-01-01T00:00:00Z", "--reason", "Christmas")
			return nil
		}, []string{"prod"}, []string{"until 2100-01-01 00:00 UTC"}, "propagator explain prod shop/v0.1.0"},

		{promotion.OutsideWindow, func(w *world) []string {
			w.staged("", `, gates: [{window: {cron: "0 0 29 2 *", duration: 1m, timezone: UTC}}]`)
			return nil
		}, []string{"prod"}, []string{"02-29"}, "propagator explain prod shop/v0.1.0"},

		{promotion.NotValidated, func(w *world) []string {
			w.capture(gatedPipeline("", ""), "1.0") // and nobody has seen it healthy
			return nil
		}, []string{"prod"}, []string{"stage has no evidence of it"}, "propagator status"},

		{promotion.SoakNotReached, func(w *world) []string {
			w.staged("", ", gates: [{soak: 4h}]")
			return nil
		}, []string{"prod"}, []string{"in stage for ", " of 4h"}, "propagator status"},

		{promotion.ApprovalMissing, func(w *world) []string {
			w.staged("", ", gates: [{approval: {count: 1}}]")
			return nil
		}, []string{"prod"}, []string{"0 of 1; tag approve/prod/shop/v0.1.0/<you>"}, "git fetch --tags && git tag -a approve/prod/shop/v0.1.0/<you>"},

		{promotion.ImageMissing, func(w *world) []string {
			w.staged("", "")
			w.lose("stage")
			return nil
		}, []string{"prod"}, []string{"3 of 3 are not complete in stage.registry.example/shop, where prod takes them from", "sha256:"}, "propagator snapshot verify shop/v0.1.0"},

		{promotion.ImageNotInLock, func(w *world) []string {
			w.capture(gatedPipeline("", ""), "1.0")
			w.tamper("shop/v0.2.0", snapshot.LockFile, func(lock string) string {
				return strings.Replace(lock, "requested: dev.registry.example/shop/web:1.0", "requested: dev.registry.example/shop/web:1.1", 1)
			})
			return nil
		}, []string{"stage", "v0.2.0"}, []string{"application web", "Deployment/web", "dev.registry.example/shop/web:1.0 has no digest for environment stage"}, "propagator snapshot verify shop/v0.2.0"},

		{promotion.ForeignRegistry, func(w *world) []string {
			w.capture(gatedPipeline("", ""), "1.0")
			return []string{"--hook-url", w.hookSees(func(a *promotion.Application) {
				if a.Application == "web" {
					a.SyncStatus = "Unknown"
					a.Condition = "ComparisonError: Failed to load target state: application web: Deployment/web: FOREIGN_REGISTRY: image docker.io/library/redis:7 is not pinned in stage.registry.example/shop, the registry of stage"
				}
			})}
		}, []string{"stage"}, []string{"Application shop-stage-web", "Deployment/web", "docker.io/library/redis:7"}, "propagator snapshot verify shop/v0.1.0"},

		{promotion.MirrorIncomplete, func(w *world) []string {
			w.staged("", "")
			w.must("promote", "prod")
			w.deployed()
			w.registries["prod"].DeleteBlob("shop/web", w.blob("prod", "shop/web"))
			return nil
		}, []string{"prod"}, []string{"1 of 3 are not complete in prod.registry.example/shop", "shop/web", "stage.registry.example/shop has them"}, "propagator mirror copy prod shop/v0.1.0"},

		{promotion.Superseded, func(w *world) []string {
			w.staged("", "")
			w.capture(gatedPipeline("", ""), "1.1") // never seen healthy
			w.capture(gatedPipeline("", ""), "1.2")
			return nil
		}, []string{"prod", "v0.2.0"}, []string{"stage runs shop/v0.3.0 by now"}, "propagator status"},

		{promotion.Rejected, func(w *world) []string {
			w.staged("", "")
			w.must("reject", "stage", "--reason", "prices are wrong")
			return nil
		}, []string{"prod"}, []string{"stage rejected it at ", "prices are wrong"}, "propagator history prod"},

		{promotion.AlreadyThere, func(w *world) []string {
			w.staged("", "")
			return nil
		}, []string{"stage"}, []string{"since 20"}, "propagator status"},

		{promotion.ReleaseInProgress, func(w *world) []string {
			w.staged(", admit: release", ", gates: [{approval: {count: 1}}]")
			w.capture(gatedPipeline(", admit: release", ", gates: [{approval: {count: 1}}]"), "1.1")
			return nil
		}, []string{"stage"}, []string{"shop/v0.1.0 is validated; it is not in prod yet"}, "propagator explain stage shop/v0.2.0"},

		{promotion.HealthUnknown, func(w *world) []string {
			w.capture(gatedPipeline("", ""), "1.0")
			return []string{"--hook-url", w.hookSees(func(a *promotion.Application) {
				if a.Application == "orders" {
					a.Health, a.HealthMessage = "", "the health check of Deployment orders has failed"
				}
			})}
		}, []string{"prod"}, []string{"stage: Application shop-stage-orders is Unknown: the health check of Deployment orders has failed"}, "propagator status"},
	}

	covered := map[string]bool{}
	for _, test := range tests {
		covered[string(test.reason)] = true
	}
	for _, name := range strings.Fields(designReasons) {
		switch owner := provenElsewhere[name]; {
		case covered[name] && owner != "":
			t.Errorf("%s is in the table and is said to be in %s", name, owner)
		case !covered[name] && owner == "":
			t.Errorf("%s is in no test; bring a pipeline into that situation", name)
		}
	}

	for _, test := range tests {
		t.Run(string(test.reason), func(t *testing.T) {
			w := newWorld(t)
			more := test.arrange(w)
			args := slices.Concat([]string{"explain"}, test.asked, more)
			text := w.must(args...)
			for _, part := range slices.Concat(test.detail, []string{string(test.reason), "what changes it: " + test.reason.Help() + "\n", "next: " + test.next}) {
				if !strings.Contains(text, part) {
					t.Errorf("the table lacks %q:\n%s", part, text)
				}
			}
			checkReason(t, w.must(append(args, "-o", "json")...), test.reason, test.detail, test.next)
			if strings.Contains(test.reason.Help(), "\n") || test.reason.Help() == "" {
				t.Errorf("the help is %q", test.reason.Help())
			}
		})
	}
}

// checkReason looks for the reason, with its details, in the JSON of explain.
func checkReason(t *testing.T, text string, reason promotion.Reason, details []string, next string) {
	t.Helper()
	type one struct{ Reason, Result, Environment, Detail string }
	var got struct {
		Passes        bool
		Checks, Waits []one
		Help, Next    string
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got.Passes || got.Help != reason.Help() || !strings.HasPrefix(got.Next, next) {
		t.Errorf("passes %v\nhelp %s\nnext %s", got.Passes, got.Help, got.Next)
	}
	if !slices.ContainsFunc(append(got.Checks, got.Waits...), func(o one) bool {
		said := o.Detail
		if o.Environment != "" {
			said = o.Environment + ": " + said
		}
		lacks := slices.ContainsFunc(details, func(part string) bool { return !strings.Contains(said, part) })
		return o.Reason == string(reason) && o.Result != "pass" && !lacks
	}) {
		t.Errorf("nothing has the reason %s with %q:\n%s", reason, details, text)
	}
}

// blob is a blob that a registry has in a repository.
func (w *world) blob(environment, repo string) string {
	w.t.Helper()
	server := w.registries[environment]
	server.Requests()
	w.must("mirror", "verify", environment, "v0.1.0")
	found := ""
	for _, request := range server.Requests() {
		if _, digest, ok := strings.Cut(request, "/"+repo+"/blobs/"); ok {
			found = max(found, digest) // requests are in no order
		}
	}
	return found
}
