package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// staleRun is the age from which the hook's newest run is too old: it looks at
// every pipeline once a minute, and a run may take half an hour when it mirrors.
const staleRun = 35 * time.Minute

func checkHook(ctx context.Context, x *examination, n *notes) {
	const subject = string(Hook)
	at, err := x.reach(ctx, Hook)
	if err != nil {
		x.unreached(n, subject, Hook, err)
		return
	}
	s, err := x.secret(ctx, tokenSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		n.skip(subject, "there is no token to ask with", "propagator doctor --only tokens")
		return
	case err != nil:
		n.trouble("Secret "+tokenSecret, err)
		return
	}
	answer, err := at.ask(ctx, http.MethodGet, "/api/v1/status", strings.TrimSpace(string(s.Data[tokenKey])), "")
	if err != nil {
		x.unreached(n, subject, Hook, err)
		return
	}
	if answer.status != http.StatusOK {
		n.skip(subject, fmt.Sprintf("it answers %d to the question for its status", answer.status), "propagator doctor --only tokens")
		return
	}
	var runs []struct {
		Repository string    `json:"repository"`
		At         time.Time `json:"at"`
		Error      string    `json:"error"`
		Waits      []any     `json:"waits"`
	}
	if json.Unmarshal(answer.body, &runs) != nil {
		n.fail(subject, "its status cannot be read: it is of another version, or something else answers", x.kubectl("logs deploy/%s", hookWorkload))
		return
	}
	if len(runs) == 0 {
		n.warn(subject, "it has not finished a run since it started", x.kubectl("logs deploy/%s", hookWorkload))
	}
	now := time.Now()
	if clock, err := kube.ReadClock(answer.header, now, now); err == nil {
		now = now.Add(clock.Offset) // ages are by the hook's own clock
	}
	for _, run := range runs {
		subject := "pipeline " + publicURL(run.Repository)
		age := now.Sub(run.At).Round(time.Second)
		switch {
		case run.Error != "":
			n.fail(subject, "the hook's newest run: "+run.Error, x.kubectl("logs deploy/%s", hookWorkload)+"\npropagator doctor --only git,registries")
		case age > staleRun:
			n.warn(subject, fmt.Sprintf("the hook's newest run was %s ago", age), x.kubectl("logs deploy/%s", hookWorkload))
		default:
			message := "the hook's newest run succeeded"
			if len(run.Waits) > 0 {
				message += "; " + plural(len(run.Waits), "wait") + ", see propagator status"
			}
			n.ok(subject, "%s", message)
		}
	}
}
