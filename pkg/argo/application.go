package argo

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

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

// Argo CD's words that mean something here. Its own packages have them too, and
// with them everything that Argo CD is made of; the tests compare (decision 0028).
const (
	healthy              = "Healthy"
	operationRunning     = "Running"
	operationTerminating = "Terminating"

	conditionComparisonError  = "ComparisonError"
	conditionSyncError        = "SyncError"
	conditionInvalidSpecError = "InvalidSpecError"
	conditionUnknownError     = "UnknownError"
	conditionDeletionError    = "DeletionError"
)

// application has the fields of an Application that the success rule needs, and
// no others: Applications are read at every look, and most of one is its history
// and what Argo CD did with each resource.
type application struct {
	Metadata struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		ResourceVersion   string            `json:"resourceVersion"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Source      *source    `json:"source"`
		Sources     []struct{} `json:"sources"`
		Destination struct {
			Name      string `json:"name"`
			Server    string `json:"server"`
			Namespace string `json:"namespace"`
		} `json:"destination"`
	} `json:"spec"`
	Status status `json:"status"`
}

type status struct {
	Sync struct {
		Status   string `json:"status"`
		Revision string `json:"revision"`
	} `json:"sync"`
	Health struct {
		Status             string       `json:"status"`
		Message            string       `json:"message"`
		LastTransitionTime *metav1.Time `json:"lastTransitionTime"`
	} `json:"health"`
	ReconciledAt   *metav1.Time     `json:"reconciledAt"`
	Conditions     []condition      `json:"conditions"`
	Resources      []resourceStatus `json:"resources"`
	OperationState *operation       `json:"operationState"`
}

type source struct {
	RepoURL        string `json:"repoURL"`
	Path           string `json:"path"`
	TargetRevision string `json:"targetRevision"`
}

type resourceStatus struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Health    *struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	} `json:"health"`
}

type condition struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

type operation struct {
	Phase      string       `json:"phase"`
	Message    string       `json:"message"`
	FinishedAt *metav1.Time `json:"finishedAt"`
	Operation  struct {
		Sync *struct {
			Revision  string     `json:"revision"`
			Resources []struct{} `json:"resources"`
			DryRun    bool       `json:"dryRun"`
		} `json:"sync"`
		InitiatedBy struct {
			Automated bool `json:"automated"`
		} `json:"initiatedBy"`
	} `json:"operation"`
	SyncResult *struct {
		Revision string `json:"revision"`
		Source   source `json:"source"`
	} `json:"syncResult"`
}

// decode reads an Application; see [application.read].
func decode(raw []byte) (promotion.Application, bool, error) {
	var app application
	if err := json.Unmarshal(raw, &app); err != nil {
		return promotion.Application{}, false, err
	}
	read, ok := app.read()
	return read, ok, nil
}

// convert is an Application out of an object that was decoded already.
func convert(object *unstructured.Unstructured) (application, error) {
	var app application
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &app)
	return app, err
}

// read is what the engine knows of an Application. Left out (ok is false) are
// multi-source Applications, because no single revision says what they run, and
// those that are being deleted, whose last state proves nothing any more.
func (app *application) read() (a promotion.Application, ok bool) {
	if app.Spec.Source == nil || len(app.Spec.Sources) > 0 || app.Metadata.DeletionTimestamp != nil {
		return a, false
	}
	a = promotion.Application{
		Namespace:        app.Metadata.Namespace,
		Name:             app.Metadata.Name,
		Environment:      app.Metadata.Labels[LabelEnvironment],
		Application:      app.Metadata.Labels[LabelApplication],
		RepoURL:          app.Spec.Source.RepoURL,
		Path:             app.Spec.Source.Path,
		TargetRevision:   app.Spec.Source.TargetRevision,
		Cluster:          app.Spec.Destination.Name,
		Server:           app.Spec.Destination.Server,
		DestNamespace:    app.Spec.Destination.Namespace,
		SyncStatus:       app.Status.Sync.Status,
		ComparedRevision: gitrepo.Hash(app.Status.Sync.Revision),
		Health:           app.Status.Health.Status,
		HealthMessage:    unhealthy(app.Status),
		Condition:        fault(app.Status.Conditions),
		Workloads:        workloads(app.Status.Resources, app.Spec.Destination.Namespace),
	}
	a.CompareError, a.ErrorCached = compareError(app.Status.Conditions)
	if app.Status.ReconciledAt != nil {
		a.ReconciledAt = app.Status.ReconciledAt.Time
	}
	if app.Status.Health.LastTransitionTime != nil {
		a.HealthSince = app.Status.Health.LastTransitionTime.Time
	}
	if operation := app.Status.OperationState; operation != nil {
		a.Phase, a.Message = operation.Phase, operation.Message
		a.FinishedAt = operation.finished()
		a.RetryOf = operation.retryOf()
		if sync := operation.Operation.Sync; sync != nil {
			// When Argo CD itself names resources it heals drift, which it does
			// only after a sync of the same revision has succeeded. It is no
			// reason to doubt that one, and where no commit touches the
			// Application, no other operation ever follows.
			a.Partial = len(sync.Resources) > 0 && !operation.Operation.InitiatedBy.Automated
			a.DryRun = sync.DryRun
		}
		if result := operation.SyncResult; result != nil {
			a.SyncedRevision = gitrepo.Hash(result.Revision)
			a.SyncedTarget = result.Source.TargetRevision
		}
	}
	return a, true
}

func (o *operation) finished() time.Time {
	if o.FinishedAt == nil {
		return time.Time{}
	}
	return o.FinishedAt.Time
}

// retryOf is the revision of an automated operation that failed and waits for
// its next try, which shows in an end beside a phase that has none. One that
// would take the newest revision then (retry.refresh) has none.
func (o *operation) retryOf() gitrepo.Hash {
	sync := o.Operation.Sync
	if sync == nil || o.Phase != operationRunning || o.FinishedAt == nil || !o.Operation.InitiatedBy.Automated {
		return ""
	}
	return gitrepo.Hash(sync.Revision)
}

// errorFromCache begins what repo-server answers without trying, for an hour
// after it has failed three times in a row.
const errorFromCache = "Manifest generation error (cached)"

func compareError(conditions []condition) (found, cached bool) {
	for _, c := range conditions {
		if c.Type == conditionComparisonError {
			found, cached = true, cached || strings.Contains(c.Message, errorFromCache)
		}
	}
	return found, cached
}

// unhealthy is what Argo CD says about the first resource that is not healthy.
// Its newer versions keep that of the whole only.
func unhealthy(status status) string {
	for _, r := range status.Resources {
		if h := r.Health; h != nil && h.Message != "" && h.Status != healthy {
			return r.Kind + " " + r.Name + ": " + h.Message
		}
	}
	if status.Health.Status != healthy {
		return status.Health.Message
	}
	return ""
}

// faults are the conditions that are errors; the others warn of something that
// has no bearing on a promotion.
var faults = []string{
	conditionComparisonError, conditionSyncError, conditionInvalidSpecError, conditionUnknownError, conditionDeletionError,
}

// wrapping is what Argo CD's components put before the cause when they hand a
// render's failure on, each one anew.
var wrapping = regexp.MustCompile(`Failed to load target state: |failed to generate manifest for source \d+ of \d+: |rpc error: code = \w+ desc = |CMP processing failed for application "[^"]*": `)

func fault(conditions []condition) string {
	for _, c := range conditions {
		if slices.Contains(faults, c.Type) {
			return c.Type + ": " + wrapping.ReplaceAllString(c.Message, "")
		}
	}
	return ""
}

// workloads are the managed resources that can have Pods: those of the built-in
// groups that do, and everything from elsewhere, for Pods also belong to
// operators' own kinds.
func workloads(resources []resourceStatus, namespace string) []promotion.Workload {
	var found []promotion.Workload
	for _, r := range resources {
		switch {
		case r.Group == "" && r.Kind != "Pod" && r.Kind != "ReplicationController":
			continue
		case r.Group == "policy", r.Group == "autoscaling", r.Group == "extensions", strings.HasSuffix(r.Group, ".k8s.io"):
			continue
		}
		w := promotion.Workload{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		if w.Namespace == "" {
			w.Namespace = namespace
		}
		if !slices.Contains(found, w) {
			found = append(found, w)
		}
	}
	return found
}
