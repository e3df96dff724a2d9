package hook

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// benchPipelines is how many pipelines the hook of BenchmarkNotify looks after.
const benchPipelines = 1_000

// argoCD is one that does not answer before its gate is closed; nil answers at once.
type argoCD struct {
	*shop
	gate  chan struct{}
	lists atomic.Int64
}

func (a *argoCD) List(ctx context.Context, _ string) ([]promotion.Application, error) {
	a.lists.Add(1)
	if a.gate != nil {
		select {
		case <-a.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// BenchmarkNotify is how long Argo CD waits for the answer to a notification.
// "stuck": every pipeline's run waits, some for something that does not answer and
// the others for their turn, and another run of each is asked for already. "busy": the notification cannot be
// understood, so that each one makes all pipelines run, which takes longer than
// the next one takes to come.
func BenchmarkNotify(b *testing.B) {
	const garbage = `{"repoURL":`
	b.Run("stuck", func(b *testing.B) {
		gate := make(chan struct{})
		defer close(gate)
		benchmarkNotify(b, &argoCD{shop: newShop(b, configuration), gate: gate}, event)
	})
	b.Run("busy", func(b *testing.B) {
		benchmarkNotify(b, &argoCD{shop: newShop(b, configuration)}, garbage)
	})
}

func benchmarkNotify(b *testing.B, argo *argoCD, body string) {
	c := func(c *Config) {
		c.Log = slog.New(slog.DiscardHandler)
		for i := range benchPipelines {
			url := strings.Replace(repoURL, "shop", fmt.Sprintf("shop%d", i), 1)
			if i == 0 {
				url = repoURL // which the event names
			}
			repo := gitrepo.NewMemory(url)
			gitrepotest.Grow(b, repo, "refs/heads/main", gitrepotest.Files{config.File: configuration})
			c.Pipelines = append(c.Pipelines, Pipeline{Engine: &promotion.Engine{Repo: repo, Registries: argo, Applications: argo, Actor: "propagator"}})
		}
	}
	s := newServer(b, c)
	if err := s.Listen(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	until(b, "as many pipelines as may are looked at", func() bool { return argo.lists.Load() >= maxLooks })
	url := "http://" + s.Addr().String()
	benchSend(b, url+"/api/v1/wake", "") // every queue is full now
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		benchSend(b, url+"/api/v1/argocd", body)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// benchSend sends as Argo CD does, over a connection that is kept.
func benchSend(b *testing.B, url, body string) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Authorization", good)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		b.Fatal(response.Status)
	}
}
