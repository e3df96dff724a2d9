package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

const (
	// How often a container that is not ready is asked, and one that is.
	probeUntilReady = 100 * time.Millisecond
	probeWhenReady  = time.Second
	// probeTimeout is for one question.
	probeTimeout = 3 * time.Second
	// unreadyAfter is how many failures in a row make a container not ready, as
	// by default in Kubernetes.
	unreadyAfter = 3
)

// accompany stays with a process as long as it lives: it asks whether it is
// ready and says so to the network, follows changes of what it was made from,
// and stops it when it is to end or to be replaced. It reports whether the
// process ended by itself.
func (r *replica) accompany(ctx context.Context, p *process.Process, c *Container, cmd *command) (byItself bool) {
	log := r.workload.kubelet.config.Log
	remove := func() {}
	defer func() { remove() }()
	ready, failures := false, 0
	answers := make(chan error, 1)
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := func() { go func() { answers <- probeOnce(asking, c, cmd) }() }
	ask()
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	deadline := time.Now().Add(rolloutWithin)
	for {
		select {
		case <-p.Done():
			return true
		case <-ctx.Done():
			r.leave(&remove)
			r.stopProcess(ctx, p)
			return false
		case err := <-answers:
			switch {
			case err == nil && !ready:
				ready, failures = true, 0
				remove = r.workload.kubelet.config.Net.Add(endpoint(c, cmd))
				r.update(func(s *Status) { s.Ready, s.Reason = true, "" })
				r.rolledOut()
			case err == nil:
				failures = 0
			default:
				failures++
				if ready && failures >= unreadyAfter {
					ready = false
					r.leave(&remove)
					log.Warn("not ready any more", "pod", r.pod, "container", c.Name, "error", err)
				}
				if !ready {
					r.update(func(s *Status) { s.Ready, s.Reason = false, "not ready: "+err.Error() })
				}
			}
			if time.Now().After(deadline) {
				r.rolledOut()
			}
			next.Reset(map[bool]time.Duration{true: probeWhenReady, false: probeUntilReady}[ready])
			continue
		case <-next.C:
			// A startupProbe is not asked again once it has passed.
			if !ready || c.Readiness != nil || c.Startup == nil {
				ask()
			}
		case <-r.wake:
		}
		if !r.workload.isUp() || r.follow(ctx, c) {
			r.leave(&remove)
			r.stopProcess(ctx, p)
			return false
		}
	}
}

// leave takes the container off the network.
func (r *replica) leave(remove *func()) {
	(*remove)()
	*remove = func() {}
	r.update(func(s *Status) { s.Ready = false })
}

// follow takes over what has changed: contents of volumes. It reports whether
// the process has to be replaced, because its Pod template is another one, or
// gone.
func (r *replica) follow(ctx context.Context, c *Container) (replace bool) {
	if !r.isDirty() {
		return false
	}
	log := r.workload.kubelet.config.Log
	now, err := r.resolve(ctx)
	switch {
	case errors.Is(err, ErrGone):
		return true
	case err != nil:
		// As with a kubelet, a container that runs goes on. Without its volumes
		// being there, the next change may bring them.
		log.Warn("cannot follow a change", "pod", r.pod, "container", c.Name, "error", err)
		return r.templateChanged(ctx, c)
	case now.Template != c.Template:
		return r.rollOut(ctx)
	}
	if err := r.workload.kubelet.writeVolumes(now); err != nil {
		log.Warn("cannot update volumes", "pod", r.pod, "container", c.Name, "error", err)
	}
	r.update(func(s *Status) { s.Generation = now.Generation })
	return false
}

// templateChanged is for a container that cannot be resolved: its template may
// be another one all the same.
func (r *replica) templateChanged(ctx context.Context, c *Container) bool {
	k := r.workload.kubelet
	found, err := newReader(k.config.Cluster.Dynamic(), k.config.Namespace).get(ctx, c.Kind, c.Workload)
	if err != nil || found == nil {
		return false
	}
	template, err := templateHash(found)
	return err == nil && template != c.Template && r.rollOut(ctx)
}

// probeOnce asks whether a container is ready: its readinessProbe, or, when it
// has none, its startupProbe, or, when it has neither, whether it listens. (In a
// cluster it would be ready at once.)
func probeOnce(ctx context.Context, c *Container, cmd *command) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	probe := Probe{Port: cmd.first}
	switch {
	case c.Readiness != nil:
		probe = *c.Readiness
	case c.Startup != nil:
		probe = *c.Startup
	case cmd.first == 0:
		return nil
	}
	address, ok := cmd.ports[probe.Port]
	if !ok {
		return fmt.Errorf("its probe asks port %d, on which it does not listen", probe.Port)
	}
	if probe.Path == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	scheme := "http"
	if probe.TLS {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+probe.Path, http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // G402: as a kubelet does.
		},
		// To the kubelet a redirect is an answer, too.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", probe.Path, resp.Status)
	}
	return nil
}
