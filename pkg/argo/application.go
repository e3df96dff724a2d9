package argo

import (
	"encoding/json"
	"time"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Labels that the generated Applications and ApplicationSets carry. Dev's
// Applications need only LabelPipeline.
const (
	LabelPipeline    = "propagator.dev/pipeline"
	LabelEnvironment = "propagator.dev/environment"
	LabelApplication = "propagator.dev/application"
)

// decode reads the fields of an Application that the success rule needs. Left
// out (ok is false) are multi-source Applications, because no single revision
// says what they run, and those that are being deleted, whose last state proves
// nothing any more.
func decode(raw []byte) (a promotion.Application, ok bool, err error) {
	var app v1alpha1.Application
	if err := json.Unmarshal(raw, &app); err != nil {
		return a, false, err
	}
	if app.Spec.Source == nil || len(app.Spec.Sources) > 0 || app.DeletionTimestamp != nil {
		return a, false, nil
	}
	a = promotion.Application{
		Namespace:        app.Namespace,
		Name:             app.Name,
		Environment:      app.Labels[LabelEnvironment],
		Application:      app.Labels[LabelApplication],
		RepoURL:          app.Spec.Source.RepoURL,
		Path:             app.Spec.Source.Path,
		TargetRevision:   app.Spec.Source.TargetRevision,
		Cluster:          app.Spec.Destination.Name,
		Server:           app.Spec.Destination.Server,
		DestNamespace:    app.Spec.Destination.Namespace,
		SyncStatus:       string(app.Status.Sync.Status),
		ComparedRevision: gitrepo.Hash(app.Status.Sync.Revision),
		Health:           string(app.Status.Health.Status),
	}
	if app.Status.ReconciledAt != nil {
		a.ReconciledAt = app.Status.ReconciledAt.Time
	}
	if app.Status.Health.LastTransitionTime != nil {
		a.HealthSince = app.Status.Health.LastTransitionTime.Time
	}
	if operation := app.Status.OperationState; operation != nil {
		a.Phase = string(operation.Phase)
		a.FinishedAt = finished(operation)
		if sync := operation.Operation.Sync; sync != nil {
			a.DryRun = sync.DryRun
			a.Partial = len(sync.Resources) > 0
		}
		if result := operation.SyncResult; result != nil {
			a.SyncedRevision = gitrepo.Hash(result.Revision)
			a.SyncedTarget = result.Source.TargetRevision
		}
	}
	return a, true, nil
}

func finished(operation *v1alpha1.OperationState) time.Time {
	if operation.FinishedAt == nil {
		return time.Time{}
	}
	return operation.FinishedAt.Time
}
