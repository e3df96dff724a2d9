package argo

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// annotationCompare makes the application controller compare an Application again.
const (
	annotationCompare = "argocd.argoproj.io/refresh"
	refreshNormal     = "normal"
	refreshHard       = "hard"
)

// Refresh implements promotion.Applications: it sets the annotation that "argocd
// app get --refresh" sets, which the controller takes off again when it has
// compared.
func (c *Client) Refresh(ctx context.Context, a promotion.Application, hard bool) error {
	kind := refreshNormal
	if hard {
		kind = refreshHard
	}
	err := c.change(ctx, a, map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationCompare: kind}}})
	if err != nil {
		return fmt.Errorf("refresh Application %s: %w", a.Name, err)
	}
	return nil
}

// Terminate implements promotion.Applications, as "argocd app terminate-op" does
// it: by the phase of the operation. The Application is read anew, and changed
// only if nobody else has changed it since.
func (c *Client) Terminate(ctx context.Context, a promotion.Application, revision gitrepo.Hash) error {
	now, err := c.kube.Resource(applications).Namespace(a.Namespace).Get(ctx, a.Name, metav1.GetOptions{})
	if err == nil {
		var app application
		if app, err = convert(now); err == nil && (app.Status.OperationState == nil || app.Status.OperationState.retryOf() != revision) {
			return nil // it is over, or another one
		}
	}
	if err == nil {
		err = c.change(ctx, a, map[string]any{
			"metadata": map[string]any{"resourceVersion": now.GetResourceVersion()},
			"status":   map[string]any{"operationState": map[string]any{"phase": operationTerminating}},
		})
		if apierrors.IsConflict(err) {
			return nil // the next look shows what it has become
		}
	}
	if err != nil {
		return fmt.Errorf("terminate the operation of Application %s: %w", a.Name, err)
	}
	return nil
}

// change patches an Application.
func (c *Client) change(ctx context.Context, a promotion.Application, fields map[string]any) error {
	patch, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = c.kube.Resource(applications).Namespace(a.Namespace).Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; allow verb patch on applications.argoproj.io, as manifests/base does", err)
	}
	return err
}
