package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/kube"
)

// Soak and settle times compare moments that different machines wrote down.
const (
	noticeableSkew = 2 * time.Second
	harmfulSkew    = 30 * time.Second
)

// party is somebody with a clock.
type party struct {
	name string
	read func(context.Context) (kube.Clock, error)
}

func checkClock(ctx context.Context, x *examination, n *notes) {
	const here = "this machine"
	reference, against := kube.Clock{}, here
	if x.Cluster != nil {
		clock, err := x.Cluster.Time(ctx)
		if err != nil {
			n.trouble("API server", err)
			return
		}
		reference, against = clock, "the API server"
		// This machine differs from it by as much as it differs from this machine.
		judge(n, here, against, kube.Clock{Offset: -clock.Offset, Uncertainty: clock.Uncertainty})
	}
	for _, p := range x.parties(ctx) {
		clock, err := p.read(ctx)
		if err != nil {
			n.skip(p.name, "its clock is unknown: "+err.Error(), "")
			continue
		}
		judge(n, p.name, against, kube.Clock{Offset: clock.Offset - reference.Offset, Uncertainty: clock.Uncertainty + reference.Uncertainty})
	}
}

func judge(n *notes, subject, against string, is kube.Clock) {
	skew := is.Offset.Abs() - is.Uncertainty
	direction := "ahead of"
	if is.Offset < 0 {
		direction = "behind"
	}
	message := fmt.Sprintf("%s %s %s", is.Offset.Abs().Round(time.Second), direction, against)
	fix := "synchronise the clock of " + subject + " (chronyc tracking; timedatectl); soak and settle times depend on it"
	switch {
	case skew > harmfulSkew:
		n.fail(subject, message, fix)
	case skew > noticeableSkew:
		n.warn(subject, message, fix)
	default:
		n.ok(subject, "agrees with %s", against)
	}
}

func (x *examination) parties(ctx context.Context) []party {
	all := []party{{name: string(Hook), read: func(ctx context.Context) (kube.Clock, error) {
		at, err := x.reach(ctx, Hook)
		if err != nil {
			return kube.Clock{}, err
		}
		return readClock(ctx, at)
	}}}
	if x.Cluster == nil && x.URLs[Hook] == "" {
		all = nil
	}
	pipelines, err := x.open(ctx)
	if err != nil {
		return all // check git says so
	}
	settings, err := x.settings(ctx)
	if err != nil {
		settings = nil // check registries says so
	}
	seen := map[string]bool{}
	add := func(name, address string) {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || seen[u.Host] {
			return
		}
		seen[u.Host] = true
		all = append(all, party{name, func(ctx context.Context) (kube.Clock, error) {
			return readClock(ctx, &endpoint{url: address, client: x.HTTP, where: publicURL(address)})
		}})
	}
	for _, p := range pipelines {
		if u, err := url.Parse(p.url); err == nil {
			add("Git host "+u.Host, p.url)
		}
		if p.config == nil {
			continue
		}
		for _, e := range p.config.Environments {
			r := p.config.Registries[e.Registry]
			host, _, _ := strings.Cut(r.URL, "/")
			if base, err := url.Parse(endpointOf(r, x.endpoints(settings))); err == nil {
				add("registry "+host, base.Scheme+"://"+base.Host+"/v2/")
			}
		}
	}
	return all
}

// endpointOf is where a registry is reached: rerouted, as configured, or at its
// name.
func endpointOf(r config.Registry, routes map[string]string) string {
	best, to := -1, ""
	for from, route := range routes {
		if (r.URL == from || strings.HasPrefix(r.URL, from+"/")) && len(from) > best {
			best, to = len(from), route
		}
	}
	if to != "" {
		return to
	}
	if r.Endpoint != "" {
		return r.Endpoint
	}
	host, _, _ := strings.Cut(r.URL, "/")
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if ip := net.ParseIP(name); name == "localhost" || ip != nil && ip.IsLoopback() {
		return "http://" + host
	}
	return "https://" + host
}

// readClock asks without credentials; a refusal has a date as well.
func readClock(ctx context.Context, at *endpoint) (kube.Clock, error) {
	sent := time.Now()
	answer, err := at.ask(ctx, http.MethodGet, "", "", "")
	if err != nil {
		return kube.Clock{}, err
	}
	return kube.ReadClock(answer.header, sent, time.Now())
}
