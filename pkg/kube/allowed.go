package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Access is something that somebody may do or not.
type Access struct {
	// Verb such as list, Group ("" for the core one) and Resource such as pods.
	Verb, Group, Resource string
	// Namespace; empty means all of them. Name is one object's; empty means any.
	Namespace, Name string
}

const reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

// Allowed asks the server whether a service account may do something. Whoever
// asks needs the right to create subjectaccessreviews.authorization.k8s.io; the
// server answers such an object, and keeps nothing of it. why is what the server
// says about it, and may be empty.
func (c *Client) Allowed(ctx context.Context, namespace, serviceAccount string, a Access) (allowed bool, why string, err error) {
	question, err := json.Marshal(map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
		"spec": map[string]any{
			"user":   "system:serviceaccount:" + namespace + ":" + serviceAccount,
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			"resourceAttributes": map[string]string{
				"verb": a.Verb, "group": a.Group, "resource": a.Resource, "namespace": a.Namespace, "name": a.Name,
			},
		},
	})
	if err != nil {
		return false, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.base.String(), "/")+reviews, bytes.NewReader(question))
	if err != nil {
		return false, "", &Error{Path: reviews, Err: ErrUnreachable, Said: "the address is malformed"}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return false, "", &Error{Path: reviews, Err: ErrUnreachable, Said: cause(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return false, "", &Error{Path: reviews, Err: ErrUnreachable, Said: cause(ctx, err)}
	case len(body) > maxAnswer:
		return false, "", &Error{Path: reviews, Err: ErrUnreachable, Said: "the answer is larger than " + strconv.Itoa(maxAnswer>>20) + " MiB"}
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return false, "", fromStatus(reviews, resp.StatusCode, body)
	}
	var answer struct {
		Status *struct {
			Allowed         bool   `json:"allowed"`
			Reason          string `json:"reason"`
			EvaluationError string `json:"evaluationError"`
		} `json:"status"`
	}
	if err := decode(reviews, body, &answer); err != nil {
		return false, "", err
	}
	if answer.Status == nil {
		return false, "", &Error{Path: reviews, Err: ErrUnreachable, Said: "the answer is not what was asked for"}
	}
	why = answer.Status.Reason
	if why == "" {
		why = answer.Status.EvaluationError
	}
	return answer.Status.Allowed, oneLine(why), nil
}
