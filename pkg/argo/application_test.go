package argo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"
	synccommon "github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

const revision = gitrepo.Hash("3f2a9c4100000000000000000000000000000001")

func at(second int) time.Time { return time.Date(2026, 3, 1, 12, 0, second, 0, time.UTC) }

// orders is what both files in testdata say, but for the environment.
func orders(environment string) promotion.Application {
	return promotion.Application{
		Namespace: "argocd", Name: "shop-" + environment + "-orders", Environment: environment, Application: "orders",
		RepoURL: "https://git.example/shop.git", Path: "envs/" + environment + "/orders", TargetRevision: "refs/tags/shop/v1.4.0",
		Phase: "Succeeded", FinishedAt: at(5), SyncedRevision: revision, SyncedTarget: "refs/tags/shop/v1.4.0",
		SyncStatus: "Synced", ComparedRevision: revision, ReconciledAt: at(7), Health: "Healthy", HealthSince: at(9),
		Message:   "successfully synced (all tasks run)",
		Workloads: []promotion.Workload{{Group: "apps", Kind: "Deployment", Namespace: "shop-stage", Name: "orders"}},
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDecode(t *testing.T) {
	stage, prod := orders("stage"), orders("prod")
	stage.Cluster, stage.DestNamespace = "in-cluster", "shop-stage"
	prod.Server, prod.DestNamespace = "https://us.example:6443", "shop"
	for name, want := range map[string]promotion.Application{"application-v2.14.json": stage, "application-v3.json": prod} {
		t.Run(name, func(t *testing.T) {
			sameWithArgoTypes(t, read(t, name))
			got, ok, err := decode(read(t, name))
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			expected := promotion.Expectation{Revision: revision, Targets: []string{"refs/tags/shop/v1.4.0"}}
			if ok, missing := got.Deployed(expected, at(10)); !ok {
				t.Errorf("does not count as deployed: %s", missing)
			}
		})
	}
}

// TestDecodeVariants changes one thing in a good Application.
func TestDecodeVariants(t *testing.T) {
	base, _, err := decode(read(t, "application-v2.14.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(app, spec, status, operation map[string]any)
		want   func(*promotion.Application)
	}{
		{"partial sync", func(_, _, _, operation map[string]any) {
			object(operation, "operation", "sync")["resources"] = []any{map[string]any{"group": "apps", "kind": "Deployment", "name": "orders"}}
			object(operation, "operation")["initiatedBy"] = map[string]any{"username": "ada"}
		}, func(a *promotion.Application) { a.Partial = true }},
		{"healed by Argo CD", func(_, _, _, operation map[string]any) {
			object(operation, "operation", "sync")["resources"] = []any{map[string]any{"group": "apps", "kind": "Deployment", "name": "orders"}}
			object(operation, "operation", "sync")["autoHealAttemptsCount"] = 1
			object(operation, "operation")["initiatedBy"] = map[string]any{"automated": true}
		}, func(*promotion.Application) {}},
		{"empty list of resources is a full sync", func(_, _, _, operation map[string]any) {
			object(operation, "operation", "sync")["resources"] = []any{}
		}, func(*promotion.Application) {}},
		{
			"dry run", func(_, _, _, operation map[string]any) { object(operation, "operation", "sync")["dryRun"] = true },
			func(a *promotion.Application) { a.DryRun = true },
		},
		{"running", func(_, _, _, operation map[string]any) {
			operation["phase"] = "Running"
			delete(operation, "finishedAt")
		}, func(a *promotion.Application) { a.Phase, a.FinishedAt = "Running", time.Time{} }},
		{"failed before it had a result", func(_, _, _, operation map[string]any) {
			operation["phase"] = "Error"
			delete(operation, "syncResult")
		}, func(a *promotion.Application) { a.Phase, a.SyncedRevision, a.SyncedTarget = "Error", "", "" }},
		{"never synced", func(_, _, status, _ map[string]any) { delete(status, "operationState") }, func(a *promotion.Application) {
			a.Phase, a.FinishedAt, a.SyncedRevision, a.SyncedTarget, a.Message = "", time.Time{}, "", "", ""
		}},
		{"never compared", func(app, _, _, _ map[string]any) { app["status"] = map[string]any{} }, func(a *promotion.Application) {
			a.Phase, a.FinishedAt, a.SyncedRevision, a.SyncedTarget, a.Message = "", time.Time{}, "", "", ""
			a.SyncStatus, a.ComparedRevision, a.ReconciledAt, a.Health, a.HealthSince, a.Workloads = "", "", time.Time{}, "", time.Time{}, nil
		}},
		{"no status", func(app, _, _, _ map[string]any) { delete(app, "status") }, func(a *promotion.Application) {
			a.Phase, a.FinishedAt, a.SyncedRevision, a.SyncedTarget, a.Message = "", time.Time{}, "", "", ""
			a.SyncStatus, a.ComparedRevision, a.ReconciledAt, a.Health, a.HealthSince, a.Workloads = "", "", time.Time{}, "", time.Time{}, nil
		}},
		{
			"without transition time", func(_, _, status, _ map[string]any) { delete(object(status, "health"), "lastTransitionTime") },
			func(a *promotion.Application) { a.HealthSince = time.Time{} },
		},
		{"sync failed", func(_, _, _, operation map[string]any) {
			operation["phase"], operation["message"] = "Failed", "one or more objects failed to apply"
		}, func(a *promotion.Application) { a.Phase, a.Message = "Failed", "one or more objects failed to apply" }},
		{"a resource is not well", func(_, _, status, _ map[string]any) {
			object(status, "health")["status"] = "Degraded"
			resource(status)["health"] = map[string]any{"status": "Degraded", "message": "too few replicas"}
		}, func(a *promotion.Application) {
			a.Health, a.HealthMessage = "Degraded", "Deployment orders: too few replicas"
		}},
		{"the whole is not well", func(_, _, status, _ map[string]any) {
			status["health"] = map[string]any{"status": "Progressing", "message": "on its way", "lastTransitionTime": "2026-03-01T12:00:09Z"}
		}, func(a *promotion.Application) { a.Health, a.HealthMessage = "Progressing", "on its way" }},
		{"conditions", func(_, _, status, _ map[string]any) {
			status["conditions"] = []any{
				map[string]any{"type": "OrphanedResourceWarning", "message": "3 of them"},
				map[string]any{"type": "ComparisonError", "message": "IMAGE_NOT_IN_LOCK"},
				map[string]any{"type": "SyncError", "message": "later"},
			}
		}, func(a *promotion.Application) {
			a.Condition, a.CompareError = "ComparisonError: IMAGE_NOT_IN_LOCK", true
		}},
		{"an error from the cache", func(_, _, status, _ map[string]any) {
			status["conditions"] = []any{map[string]any{"type": "ComparisonError", "message": "Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown desc = Manifest generation error (cached): plugin not found"}}
		}, func(a *promotion.Application) {
			a.Condition = "ComparisonError: Manifest generation error (cached): plugin not found"
			a.CompareError, a.ErrorCached = true, true
		}},
		{"an error that was handed on", func(_, _, status, _ map[string]any) {
			status["conditions"] = []any{map[string]any{"type": "ComparisonError", "message": `Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown desc = CMP processing failed for application "shop-stage-orders": could not find cmp-server plugin with name "propagator-v1.0" supporting the given repository`}}
		}, func(a *promotion.Application) {
			a.Condition = `ComparisonError: could not find cmp-server plugin with name "propagator-v1.0" supporting the given repository`
			a.CompareError = true
		}},
		{"waits to be tried again", func(_, _, _, operation map[string]any) {
			operation["phase"], operation["retryCount"] = "Running", 2
			object(operation, "operation")["initiatedBy"] = map[string]any{"automated": true}
			object(operation, "operation", "sync")["revision"] = "00ff"
		}, func(a *promotion.Application) { a.Phase, a.RetryOf = "Running", "00ff" }},
		{"a person's waits to be tried again", func(_, _, _, operation map[string]any) {
			operation["phase"], operation["retryCount"] = "Running", 2
			object(operation, "operation")["initiatedBy"] = map[string]any{"username": "ada"}
			object(operation, "operation", "sync")["revision"] = "00ff"
		}, func(a *promotion.Application) { a.Phase = "Running" }},
		{"is being tried again", func(_, _, _, operation map[string]any) {
			operation["phase"], operation["retryCount"] = "Running", 2
			delete(operation, "finishedAt")
			object(operation, "operation")["initiatedBy"] = map[string]any{"automated": true}
			object(operation, "operation", "sync")["revision"] = "00ff"
		}, func(a *promotion.Application) { a.Phase, a.FinishedAt = "Running", time.Time{} }},
		{"resources that have no Pods", func(_, _, status, _ map[string]any) {
			list, _ := status["resources"].([]any)
			for _, r := range []map[string]any{
				{"kind": "ConfigMap", "name": "orders"},
				{"group": "rbac.authorization.k8s.io", "kind": "Role", "name": "orders"},
				{"group": "policy", "kind": "PodDisruptionBudget", "name": "orders"},
				{"group": "autoscaling", "kind": "HorizontalPodAutoscaler", "name": "orders"},
				{"kind": "Pod", "name": "bare"},
				{"group": "argoproj.io", "kind": "Rollout", "name": "web", "namespace": "other"},
				{"group": "leaderworkerset.x-k8s.io", "kind": "LeaderWorkerSet", "name": "many"},
			} {
				list = append(list, r, r)
			}
			status["resources"] = list
		}, func(a *promotion.Application) {
			a.Workloads = append(slices.Clone(a.Workloads),
				promotion.Workload{Kind: "Pod", Namespace: "shop-stage", Name: "bare"},
				promotion.Workload{Group: "argoproj.io", Kind: "Rollout", Namespace: "other", Name: "web"},
				promotion.Workload{Group: "leaderworkerset.x-k8s.io", Kind: "LeaderWorkerSet", Namespace: "shop-stage", Name: "many"})
		}},
		{"Dev, without our labels", func(app, spec, _, _ map[string]any) {
			object(app, "metadata")["labels"] = map[string]any{LabelPipeline: "shop"}
			object(spec, "source")["targetRevision"] = "main"
		}, func(a *promotion.Application) { a.Environment, a.Application, a.TargetRevision = "", "", "main" }},
		{"unknown fields", func(app, spec, status, operation map[string]any) {
			for _, object := range []map[string]any{app, spec, status, operation} {
				object["later"] = map[string]any{"x": []any{1.0}}
			}
		}, func(*promotion.Application) {}},
		{"several sources", func(_, spec, _, _ map[string]any) {
			spec["sources"] = []any{spec["source"], spec["source"]}
			delete(spec, "source")
		}, nil},
		{"one source in a list", func(_, spec, _, _ map[string]any) {
			spec["sources"] = []any{spec["source"]}
			delete(spec, "source")
		}, nil},
		{"source and sources", func(_, spec, _, _ map[string]any) { spec["sources"] = []any{spec["source"]} }, nil},
		{"hydrated", func(_, spec, _, _ map[string]any) {
			delete(spec, "source")
			spec["sourceHydrator"] = map[string]any{"drySource": map[string]any{"repoURL": "https://git.example/shop.git", "path": "x", "targetRevision": "main"}}
		}, nil},
		{"being deleted", func(app, _, _, _ map[string]any) {
			object(app, "metadata")["deletionTimestamp"] = "2026-03-01T12:00:10Z"
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var app map[string]any
			if err := json.Unmarshal(read(t, "application-v2.14.json"), &app); err != nil {
				t.Fatal(err)
			}
			test.change(app, object(app, "spec"), object(app, "status"), object(app, "status", "operationState"))
			raw, err := json.Marshal(app)
			if err != nil {
				t.Fatal(err)
			}
			sameWithArgoTypes(t, raw)
			got, ok, err := decode(raw)
			if err != nil || ok != (test.want != nil) {
				t.Fatalf("%v, %v", ok, err)
			}
			if test.want == nil {
				return
			}
			want := base
			test.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func object(in map[string]any, path ...string) map[string]any {
	for _, key := range path {
		in, _ = in[key].(map[string]any)
	}
	return in
}

// resource is the first managed resource.
func resource(status map[string]any) map[string]any {
	list, _ := status["resources"].([]any)
	first, _ := list[0].(map[string]any)
	return first
}

func TestDecodeFaults(t *testing.T) {
	for _, raw := range []string{"", "{", `{"status":{"reconciledAt":"yesterday"}}`, `{"spec":"x"}`} {
		if a, ok, err := decode([]byte(raw)); err == nil || ok {
			t.Errorf("%s: %+v, %v", raw, a, ok)
		}
	}
}

// TestWords: the success rule knows Argo CD's words, and of all words that
// there are only these mean success.
func TestWords(t *testing.T) {
	time5, time7 := metav1.NewTime(at(5)), metav1.NewTime(at(7))
	judge := func(phase synccommon.OperationPhase, sync v1alpha1.SyncStatusCode, code health.HealthStatusCode) string {
		t.Helper()
		source := v1alpha1.ApplicationSource{RepoURL: "https://git.example/shop.git", Path: "x", TargetRevision: "main"}
		raw, err := json.Marshal(v1alpha1.Application{
			Spec: v1alpha1.ApplicationSpec{Source: &source},
			Status: v1alpha1.ApplicationStatus{
				Sync: v1alpha1.SyncStatus{Status: sync, Revision: string(revision)}, Health: v1alpha1.HealthStatus{Status: code}, ReconciledAt: &time7,
				OperationState: &v1alpha1.OperationState{
					Phase: phase, FinishedAt: &time5, Operation: v1alpha1.Operation{Sync: &v1alpha1.SyncOperation{}},
					SyncResult: &v1alpha1.SyncOperationResult{Revision: string(revision), Source: source},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		a, ok, err := decode(raw)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		_, missing := a.Deployed(promotion.Expectation{Revision: revision, Targets: []string{"main"}}, at(10))
		return missing
	}
	for _, phase := range []synccommon.OperationPhase{synccommon.OperationSucceeded, synccommon.OperationRunning, synccommon.OperationTerminating, synccommon.OperationFailed, synccommon.OperationError, ""} {
		missing := judge(phase, v1alpha1.SyncStatusCodeSynced, health.HealthStatusHealthy)
		if (missing == "") != (phase == synccommon.OperationSucceeded) || !strings.Contains(missing, string(phase)) && missing != "" {
			t.Errorf("phase %q: %q", phase, missing)
		}
	}
	for _, sync := range []v1alpha1.SyncStatusCode{v1alpha1.SyncStatusCodeSynced, v1alpha1.SyncStatusCodeOutOfSync, v1alpha1.SyncStatusCodeUnknown, ""} {
		missing := judge(synccommon.OperationSucceeded, sync, health.HealthStatusHealthy)
		if (missing == "") != (sync == v1alpha1.SyncStatusCodeSynced) {
			t.Errorf("sync %q: %q", sync, missing)
		}
	}
	for _, code := range []health.HealthStatusCode{
		health.HealthStatusHealthy, health.HealthStatusProgressing, health.HealthStatusDegraded, health.HealthStatusSuspended, health.HealthStatusMissing, health.HealthStatusUnknown, "",
	} {
		missing := judge(synccommon.OperationSucceeded, v1alpha1.SyncStatusCodeSynced, code)
		if (missing == "") != (code == health.HealthStatusHealthy) {
			t.Errorf("health %q: %q", code, missing)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"application-v2.14.json", "application-v3.json"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"spec":{"source":{}},"status":{"operationState":{"operation":{"sync":null},"syncResult":null}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, ok, err := decode(raw); ok && err != nil {
			t.Error("an Application beside an error")
		}
		sameWithArgoTypes(t, raw)
	})
}
