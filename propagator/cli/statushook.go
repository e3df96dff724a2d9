package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
)

// Bounds of asking the hook.
const (
	hookTimeout = 10 * time.Second
	maxStatus   = 8 << 20
	maxToken    = 16 << 10
)

const (
	unreachableHook = "kubectl -n argocd port-forward service/propagator-notifications-hook 8080, then --hook-url http://127.0.0.1:8080; without --hook-url only git is asked"
	hookTokenHint   = "give the token of Secret propagator-token with --token-file, or in the variable " + service.TokenVariable
)

// hookClient asks a running notifications-hook what it sees.
type hookClient struct {
	url       string
	tokenFile string
}

func (h *hookClient) bind(flags *pflag.FlagSet) {
	flags.StringVar(&h.url, "hook-url", "", "`URL` of a notifications-hook, to show what it sees in the cluster")
	flags.StringVar(&h.tokenFile, "token-file", "", "`file` with the hook's bearer token; otherwise the variable "+service.TokenVariable)
}

// hookStatus is what the newest run of the hook came to.
type hookStatus struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
	// Owner is the replica that looks after the pipeline; empty when replicas do
	// not share.
	Owner string `json:"owner,omitempty"`
	// Hops are the last promotions that it saw, oldest first.
	Hops []promotion.Hop `json:"hops"`
}

func (h *hookStatus) line(w io.Writer) {
	text := "the hook looked at " + h.At.UTC().Format("2006-01-02 15:04:05 MST")
	if h.Error != "" {
		text += " and failed: " + h.Error
	}
	if h.Owner != "" {
		text += "; " + h.Owner + " looks after the pipeline"
	}
	_, _ = fmt.Fprintln(w, printable(text))
}

// liveReasons are those that only somebody who sees the cluster can give, or who
// tries what is due.
var liveReasons = []promotion.Reason{
	promotion.HealthUnknown, promotion.ImageNotPulled, promotion.SyncFailed, promotion.DigestMismatch, promotion.ImageNotInLock,
	promotion.ForeignRegistry, promotion.ImageMissing, promotion.MirrorIncomplete,
}

// ask adds to a status what the hook sees; it does nothing without an address.
func (h *hookClient) ask(ctx context.Context, env []string, status *pipelineStatus) error {
	if h.url == "" {
		return nil
	}
	all, err := h.fetch(ctx, env)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(s hook.Status) bool { return promotion.SameRepository(s.Repository, status.Repository) })
	if i < 0 {
		var others []string
		for _, s := range all {
			others = append(others, s.Repository)
		}
		known := strings.Join(others, ", ")
		if known == "" {
			known = "nothing yet"
		}
		return &hinted{fmt.Errorf("the hook at %s has not looked at %s; it knows %s", h.url, status.Repository, known), "compare --repository with the hook's (ConfigMap propagator-settings)"}
	}
	found := all[i]
	status.Hook = &hookStatus{At: found.At, Seconds: found.Seconds, Error: found.Error, Owner: found.Owner, Hops: found.Hops}
	for j := range status.Environments {
		e := &status.Environments[j]
		for _, wait := range found.Waits {
			if wait.Environment == e.Environment && slices.Contains(liveReasons, wait.Reason) {
				e.Waits = append(e.Waits, wait)
			}
		}
		for _, warning := range found.Warnings {
			if warning.Environment == e.Environment {
				e.Warnings = append(e.Warnings, warning)
			}
		}
	}
	return nil
}

// fetch reads the hook's status.
func (h *hookClient) fetch(ctx context.Context, env []string) ([]hook.Status, error) {
	address, err := url.Parse(h.url)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" || address.User != nil || address.RawQuery != "" {
		return nil, usageHint("--hook-url http://127.0.0.1:8080", "--hook-url is not an address of the form http://host:port, without user or query")
	}
	token, err := h.token(env)
	if err != nil {
		return nil, usageHint(hookTokenHint, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.JoinPath("api/v1/status").String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	// A redirect would take the token somewhere else.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &hinted{fmt.Errorf("ask the hook at %s: %w", h.url, err), unreachableHook}
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		hint := unreachableHook
		if response.StatusCode == http.StatusUnauthorized {
			hint = hookTokenHint
		}
		return nil, &hinted{fmt.Errorf("ask the hook at %s: it answers %s", h.url, response.Status), hint}
	}
	var all []hook.Status
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&all); err != nil {
		return nil, &hinted{fmt.Errorf("ask the hook at %s: it does not answer as a hook does: %w", h.url, err), unreachableHook}
	}
	return all, nil
}

// token is the first of the file's, or the variable's.
func (h *hookClient) token(env []string) (string, error) {
	text := ""
	if h.tokenFile != "" {
		file, err := os.Open(h.tokenFile)
		if err != nil {
			return "", fmt.Errorf("token file: %w", err)
		}
		defer func() { _ = file.Close() }()
		content, err := io.ReadAll(io.LimitReader(file, maxToken))
		if err != nil {
			return "", fmt.Errorf("token file: %w", err)
		}
		text = string(content)
	} else {
		for _, entry := range env {
			if value, ok := strings.CutPrefix(entry, service.TokenVariable+"="); ok {
				text = value
			}
		}
	}
	for line := range strings.Lines(text) {
		if token := strings.TrimSpace(line); token != "" {
			return token, nil
		}
	}
	return "", errors.New("no bearer token for the hook")
}
