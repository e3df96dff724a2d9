package hook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/githost"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// flagWebhookSecretFile is the flag without which no git host is listened to.
const flagWebhookSecretFile = "webhook-secret-file"

// maxWebhooks is how many requests of git hosts are read at a time. Each may
// keep 1 MiB, and anybody may send one: the secret is checked at its end.
const maxWebhooks = 16

// webhook receives what git hosts send.
type webhook struct {
	verifier *githost.Verifier
	memory   *githost.Memory
	reading  chan struct{} // one for each request that is read
}

func newWebhook(secrets *githost.Secrets) *webhook {
	return &webhook{verifier: githost.NewVerifier(secrets), memory: githost.NewMemory(), reading: make(chan struct{}, maxWebhooks)}
}

// noWebhook answers a git host where no secret is configured.
func noWebhook(w http.ResponseWriter, _ *http.Request) {
	service.WriteError(w, http.StatusNotFound, fmt.Sprintf("no webhook secret is configured: start notifications-hook with --%s (%s)",
		flagWebhookSecretFile, service.Variable(flagWebhookSecretFile)))
}

// pushed serves POST /api/v1/webhook: a git host reports an event. A push wakes
// the pipelines of its repository. The answer says what came of it, for whoever
// looks at the deliveries in the host's web interface; it never waits for a
// worker.
func (s *Server) pushed(w http.ResponseWriter, r *http.Request) {
	select {
	case s.webhook.reading <- struct{}{}:
		defer func() { <-s.webhook.reading }()
	default:
		s.countWebhook("", "busy")
		w.Header().Set("Retry-After", "1")
		service.WriteError(w, http.StatusServiceUnavailable, "too many webhooks at a time")
		return
	}
	delivery, err := s.webhook.verifier.Receive(r)
	if err != nil {
		s.refuseWebhook(w, r, delivery.Host, err)
		return
	}
	result, message := s.deliver(delivery)
	s.countWebhook(delivery.Host, result)
	service.WriteJSON(w, http.StatusAccepted, struct {
		Message string `json:"message"`
	}{message})
}

// deliver wakes the workers that a delivery concerns. It names what it did, for
// the metric and for the sender.
func (s *Server) deliver(d githost.Delivery) (result, message string) {
	switch d.Kind {
	case githost.Ping:
		return "ping", "the webhook works; pushes wake the pipelines of their repository"
	case githost.Other:
		return "ignored", "not a push of branches or tags; nothing is woken"
	}
	workers := s.pushedTo(d)
	if len(workers) == 0 {
		return "foreign", "no pipeline has this repository, which is " + strings.TrimSpace(strings.Join(d.Repositories, " ")+" "+d.Path) + "; nothing is woken"
	}
	// Only what would wake somebody is remembered: the webhook of a whole
	// organization shall not push it out.
	if s.webhook.memory.Repeated(d) {
		return "replayed", "this delivery was received before; nothing is woken"
	}
	for _, worker := range workers {
		worker.poke()
	}
	return "woken", fmt.Sprintf("woken: %d of %d pipelines", len(workers), len(s.workers))
}

// pushedTo are the workers of the repository that was pushed to.
func (s *Server) pushedTo(d githost.Delivery) []*worker {
	var found []*worker
	for _, worker := range s.workers {
		if concerned(worker.name, d) {
			found = append(found, worker)
		}
	}
	return found
}

func concerned(repository string, d githost.Delivery) bool {
	for _, address := range d.Repositories {
		if promotion.SameRepository(repository, address) {
			return true
		}
	}
	if d.Path == "" {
		return false
	}
	path := strings.TrimSuffix(strings.TrimSuffix(repository, "/"), ".git")
	return strings.HasSuffix(strings.ToLower(path), "/"+strings.ToLower(d.Path))
}

// refuseWebhook answers a request that was not accepted. What may be an attack
// or a wrong secret is for the operator's log, with what to check; the secret
// itself is nowhere in it.
func (s *Server) refuseWebhook(w http.ResponseWriter, r *http.Request, host githost.Host, err error) {
	status, result := webhookStatus(err)
	s.countWebhook(host, result)
	log := s.config.Log.With("id", service.RequestID(r.Context()), "host", hostLabel(host), "error", err)
	message := err.Error()
	switch {
	case errors.Is(err, githost.ErrSecrets):
		log.ErrorContext(r.Context(), "webhook secrets unusable, every git host is refused")
		message = "the signature cannot be checked now"
	case errors.Is(err, githost.ErrRefused):
		log.WarnContext(r.Context(), "webhook refused", "hint", webhookHint(host))
	default:
		log.WarnContext(r.Context(), "webhook not understood")
	}
	service.WriteError(w, status, message)
}

// webhookStatus is what an error of the verifier is answered with, and what it
// is counted as.
func webhookStatus(err error) (status int, result string) {
	switch {
	case errors.Is(err, githost.ErrRefused):
		return http.StatusUnauthorized, "refused"
	case errors.Is(err, githost.ErrSecrets):
		return http.StatusServiceUnavailable, "no_secret"
	case errors.Is(err, githost.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, "too_large"
	case errors.Is(err, githost.ErrLength):
		return http.StatusLengthRequired, "unsupported"
	case errors.Is(err, githost.ErrEncoding):
		return http.StatusUnsupportedMediaType, "unsupported"
	}
	return http.StatusBadRequest, "malformed"
}

// webhookHint is what to check when a host did not prove that it knows the
// secret.
func webhookHint(host githost.Host) string {
	field := "the field Secret of the webhook"
	switch host {
	case githost.GitLab:
		field = "the webhook's secret token, or its signing token if it has one,"
	case githost.BitbucketServer:
		field += " (some versions do not sign their connection test: try a push)"
	}
	return field + " has to equal a line of the file that --" + flagWebhookSecretFile + " names here, and no proxy in between may change the body; if you have no such webhook, somebody is trying"
}

func (s *Server) countWebhook(host githost.Host, result string) {
	s.metrics.webhooks.WithLabelValues(hostLabel(host), result).Inc()
}

func hostLabel(host githost.Host) string {
	if host == "" {
		return "unknown"
	}
	return string(host)
}
