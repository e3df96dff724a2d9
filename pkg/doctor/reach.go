package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// maxProgramAnswer bounds what is read of a program's answer, in bytes.
const maxProgramAnswer = 4 << 20

// endpoint is an address of a program.
type endpoint struct {
	url    string
	client *http.Client
	// where it is, for people.
	where string
}

// reply is a program's answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request and returns the answer, its body cut off at
// maxProgramAnswer. It follows no redirect.
func (e *endpoint) ask(ctx context.Context, method, path, token, body string) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(e.url, "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: the address is malformed", e.where)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := *e.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", e.where, withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxProgramAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: the answer broke off: %w", e.where, withoutURL(err))
	}
	return &reply{resp.StatusCode, resp.Header, answer}, nil
}

// errNoPod: nothing to forward to.
var errNoPod = errors.New("no Pod is ready")

// reach finds the way to a program: its URL, or a ready Pod of its Deployment.
func (x *examination) reach(ctx context.Context, program Program) (*endpoint, error) {
	if url := x.URLs[program]; url != "" {
		return &endpoint{url: url, client: x.HTTP, where: publicURL(url)}, nil
	}
	if x.Cluster == nil {
		return nil, fmt.Errorf("%s: %w", program, errNoPod)
	}
	var d *appsv1.Deployment
	var err error
	port := programPort
	switch program {
	case Hook:
		d, err = x.ownDeployment(ctx, hookWorkload)
	case Generator:
		d, err = x.ownDeployment(ctx, generatorWorkload)
	default:
		port = sidecarPort
		d, err = x.deployment(ctx, repoServer)
	}
	if err != nil {
		return nil, err
	}
	pods, err := x.pods(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if podReady(pod) {
			return x.inPod(pod.Name, port), nil
		}
	}
	return nil, fmt.Errorf("deployment %s: %w", d.Name, errNoPod)
}

func (x *examination) inPod(pod string, port int) *endpoint {
	return &endpoint{
		url: fmt.Sprintf("http://localhost:%d", port), client: x.Cluster.Forward(x.Namespace, pod, port), where: "Pod " + pod,
	}
}

func podReady(pod corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
