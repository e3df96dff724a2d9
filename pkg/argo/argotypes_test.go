package argo

import (
	"encoding/json"
	"testing"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"
	synccommon "github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// sameWithArgoTypes reads an Application with Argo CD's own types, and fails where
// decode understood another thing.
func sameWithArgoTypes(t *testing.T, raw []byte) {
	t.Helper()
	var app v1alpha1.Application
	if json.Unmarshal(raw, &app) != nil {
		return // those types want more to be well-formed than is read here
	}
	got, ok, err := decode(raw)
	if err != nil {
		t.Fatalf("Argo CD's types can be read, and decode says %v", err)
	}
	if want := app.Spec.Source != nil && len(app.Spec.Sources) == 0 && app.DeletionTimestamp == nil; ok != want {
		t.Fatalf("left out: %v, want %v", !ok, !want)
	}
	if !ok {
		return
	}
	want := promotion.Application{
		Namespace: app.Namespace, Name: app.Name, Environment: app.Labels[LabelEnvironment], Application: app.Labels[LabelApplication],
		RepoURL: app.Spec.Source.RepoURL, Path: app.Spec.Source.Path, TargetRevision: app.Spec.Source.TargetRevision,
		Cluster: app.Spec.Destination.Name, Server: app.Spec.Destination.Server, DestNamespace: app.Spec.Destination.Namespace,
		SyncStatus: string(app.Status.Sync.Status), ComparedRevision: gitrepo.Hash(app.Status.Sync.Revision), Health: string(app.Status.Health.Status),
		// What is made of them has tests of its own.
		HealthMessage: got.HealthMessage, Condition: got.Condition, CompareError: got.CompareError, ErrorCached: got.ErrorCached,
	}
	if at := app.Status.ReconciledAt; at != nil {
		want.ReconciledAt = at.Time
	}
	if at := app.Status.Health.LastTransitionTime; at != nil {
		want.HealthSince = at.Time
	}
	var resources []resourceStatus
	for _, r := range app.Status.Resources {
		resources = append(resources, resourceStatus{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
	}
	want.Workloads = workloads(resources, app.Spec.Destination.Namespace)
	if o := app.Status.OperationState; o != nil {
		want.Phase, want.Message = string(o.Phase), o.Message
		if o.FinishedAt != nil {
			want.FinishedAt = o.FinishedAt.Time
		}
		automated := o.Operation.InitiatedBy.Automated
		if sync := o.Operation.Sync; sync != nil {
			want.Partial, want.DryRun = len(sync.Resources) > 0 && !automated, sync.DryRun
			if o.Phase == synccommon.OperationRunning && o.FinishedAt != nil && automated {
				want.RetryOf = gitrepo.Hash(sync.Revision)
			}
		}
		if o.SyncResult != nil {
			want.SyncedRevision, want.SyncedTarget = gitrepo.Hash(o.SyncResult.Revision), o.SyncResult.Source.TargetRevision
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read with Argo CD's types (-want +got):\n%s", diff)
	}
}

// TestArgoConstants: the words are those of Argo CD.
func TestArgoConstants(t *testing.T) {
	t.Parallel()
	for ours, theirs := range map[string]string{
		healthy:                   string(health.HealthStatusHealthy),
		operationRunning:          string(synccommon.OperationRunning),
		operationTerminating:      string(synccommon.OperationTerminating),
		conditionComparisonError:  v1alpha1.ApplicationConditionComparisonError,
		conditionSyncError:        v1alpha1.ApplicationConditionSyncError,
		conditionInvalidSpecError: v1alpha1.ApplicationConditionInvalidSpecError,
		conditionUnknownError:     v1alpha1.ApplicationConditionUnknownError,
		conditionDeletionError:    v1alpha1.ApplicationConditionDeletionError,
		annotationCompare:         v1alpha1.AnnotationKeyRefresh,
		refreshNormal:             string(v1alpha1.RefreshTypeNormal),
		refreshHard:               string(v1alpha1.RefreshTypeHard),
		applications.Version:      v1alpha1.SchemeGroupVersion.Version,
	} {
		if ours != theirs {
			t.Errorf("%q is %q in Argo CD", ours, theirs)
		}
	}
}
