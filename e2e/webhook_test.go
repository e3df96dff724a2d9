//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/gitserver"
)

// pushed is the git host's webhook: it wakes the hook after somebody's push.
// Whatever goes wrong is a lost event, which nothing may depend on.
func (s *suite) pushed(repo, user string) {
	if s.noWebhook.Load() || s.hook == nil || user == gitserver.Propagator {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := s.hookRequest(ctx, http.MethodPost, "/api/v1/wake?repository="+url.QueryEscape(s.git.URL(repo)))
	if err != nil {
		s.log.Info("the webhook did not arrive", "repository", repo, "error", err)
		return
	}
	_ = response.Body.Close()
}

// The Services, for those who use the suite's network.
const (
	hookURL      = "http://" + hookName + ".argocd.svc.cluster.local:8080"
	generatorURL = "http://" + generatorName + ".argocd.svc.cluster.local:8080"
)

// hookRequest asks the hook over its Service, with the token of the Secret.
func (s *suite) hookRequest(ctx context.Context, method, path string) (*http.Response, error) {
	secret, err := s.cluster.Clientset().CoreV1().Secrets(cluster.Namespace).Get(ctx, "propagator-token", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, hookURL+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret.Data["token"])))
	proxy, err := url.Parse(s.net.URL())
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
	return client.Do(request)
}
