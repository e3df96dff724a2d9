package doctor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

const (
	// shortToken is the length below which a token can be guessed.
	shortToken = 16
	// nobodysPipeline is a scope that the generator does not know: asking for
	// it proves that a token is accepted, and changes and reads nothing.
	nobodysPipeline = "propagator-doctor-asks"
)

// applySecret applies what stands before it in a pipe, as docs/install.md does:
// with another field manager the commands of that page would be refused later.
// The Secrets are our own and are to be replaced, whoever wrote what is in them.
const applySecret = "kubectl apply --server-side --force-conflicts --field-manager=" + fieldManager + " -f -"

// createToken makes the Secret with a new token, or puts a new one into it. The
// shell's own printf writes it, so that no list of processes shows it.
func (x *examination) createToken() string {
	return x.kubectl("create secret generic %s --dry-run=client -o yaml", tokenSecret) +
		fmt.Sprintf(` | { cat; printf 'data: {%s: %%s}\n' "$(openssl rand -hex 32 | tr -d '\n' | openssl base64 -A)"; } | kubectl label --local -f - %s=%s -o yaml | %s`,
			tokenKey, labelPartOf, partOfArgoCD, applySecret)
}

// renewToken replaces the token on both sides.
func (x *examination) renewToken() string { return x.createToken() + "\n" + x.copyToken() }

// copyToken gives the notifications controller the same token.
func (x *examination) copyToken() string {
	return x.kubectl("get secret %s -o jsonpath='{\"data: {%s: \"}{.data.%s}{\"}\"}'", tokenSecret, notificationsToken, tokenKey) + " | " +
		x.kubectl("patch secret %s --type merge --patch-file /dev/stdin", notificationsSecret)
}

// checkToken looks at the token in one key of a Secret.
func (x *examination) checkToken(ctx context.Context, n *notes, secret, key, also string) {
	subject := "Secret " + secret
	s, err := x.secret(ctx, secret)
	standard := secret == tokenSecret && key == tokenKey
	create := x.createToken()
	if !standard {
		create += "\n" + also
	}
	if errors.Is(err, kube.ErrNotFound) {
		n.fail(subject, "there is none, so the ApplicationSet controller sends the reference in place of a token", create)
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	value, ok := s.Data[key]
	token := string(value)
	switch {
	case !ok:
		n.fail(subject, fmt.Sprintf("it has no key %s, so the ApplicationSet controller sends the reference in place of a token", key), create)
	case strings.TrimSpace(token) == "":
		n.fail(subject, "key "+key+" is empty", x.renewToken())
	case strings.HasPrefix(strings.TrimSpace(token), "$"):
		n.fail(subject, "key "+key+" begins with $: a reference that nobody resolved, not a token", x.renewToken())
	case strings.ContainsAny(strings.TrimSpace(token), "\r\n"):
		n.fail(subject, "key "+key+" has several lines; the ApplicationSet controller can send only one token", x.renewToken())
	case strings.TrimSpace(token) != token:
		n.warn(subject, "key "+key+" has blanks or a line end around the token; the ApplicationSet controller drops them, the notifications controller does not", x.renewToken())
	}
	if s.Labels[labelPartOf] != partOfArgoCD {
		n.warn(subject, "it lacks the label "+labelPartOf+"="+partOfArgoCD+", without which Argo CD need not read it", x.kubectl("label secret %s %s=%s", secret, labelPartOf, partOfArgoCD))
	}
}

func checkTokens(ctx context.Context, x *examination, n *notes) {
	subject := "Secret " + tokenSecret
	s, err := x.secret(ctx, tokenSecret)
	if errors.Is(err, kube.ErrNotFound) {
		n.fail(subject, "there is none in namespace "+x.Namespace, x.createToken()+"\n"+x.copyToken())
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	token := strings.TrimSpace(string(s.Data[tokenKey]))
	switch {
	case token == "":
		n.fail(subject, "key "+tokenKey+" is missing or empty", x.renewToken())
		return
	case len(token) < shortToken:
		n.fail(subject, fmt.Sprintf("the token has fewer than %d characters", shortToken), x.renewToken())
	default:
		n.ok(subject, "the token is long enough")
	}
	x.compareTokens(ctx, n, s)
	x.checkWebhookSecrets(ctx, n)
	// The generator knows no such pipeline: 404 to those who may ask.
	body, err := json.Marshal(map[string]any{
		"applicationSetName": "propagator-doctor", "input": map[string]any{"parameters": map[string]string{"pipeline": nobodysPipeline}},
	})
	if err != nil {
		n.fail("applicationset-generator", err.Error(), "")
		return
	}
	x.checkAccepted(ctx, n, Generator, generatorWorkload, http.MethodPost, "/api/v1/getparams.execute", token, string(body))
	x.checkAccepted(ctx, n, Hook, hookWorkload, http.MethodGet, "/api/v1/status", token, "")
}

// compareTokens wants the notifications controller to send what the hook
// accepts.
func (x *examination) compareTokens(ctx context.Context, n *notes, ours *corev1.Secret) {
	subject := "Secret " + notificationsSecret
	theirs, err := x.secret(ctx, notificationsSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		n.fail(subject, "there is none in namespace "+x.Namespace, x.kubectl("create secret generic %s", notificationsSecret)+"\n"+x.copyToken())
		return
	case err != nil:
		n.trouble(subject, err)
		return
	}
	sent, ok := theirs.Data[notificationsToken]
	switch {
	case !ok || len(sent) == 0:
		n.fail(subject, "key "+notificationsToken+" is missing or empty, so the hook refuses every notification", x.copyToken())
	case subtle.ConstantTimeCompare(sent, ours.Data[tokenKey]) == 1:
		n.ok(subject, "the same token")
	case subtle.ConstantTimeCompare([]byte(strings.TrimSpace(string(sent))), []byte(strings.TrimSpace(string(ours.Data[tokenKey])))) == 1:
		n.warn(subject, "the same token as in Secret "+tokenSecret+", with other blanks or line ends around it", x.copyToken())
	default:
		n.fail(subject, "another token than in Secret "+tokenSecret+", so the hook refuses every notification", x.copyToken())
	}
}

// checkAccepted asks a program with the token, and with a wrong one.
func (x *examination) checkAccepted(ctx context.Context, n *notes, program Program, workload, method, path, token, body string) {
	subject := string(program)
	at, err := x.reach(ctx, program)
	if err != nil {
		x.unreached(n, subject, program, err)
		return
	}
	answer, err := at.ask(ctx, method, path, token, body)
	if err != nil {
		x.unreached(n, subject, program, err)
		return
	}
	if answer.status == http.StatusUnauthorized {
		n.fail(subject, "it refuses the token in Secret "+tokenSecret+": it runs with another one", x.restart(workload))
		return
	}
	if answer.status != http.StatusOK && answer.status != http.StatusNotFound && answer.status != http.StatusServiceUnavailable && answer.status != http.StatusConflict {
		n.fail(subject, fmt.Sprintf("what answers there (%d) is not %s", answer.status, program), x.kubectl("logs deploy/%s", workload))
		return
	}
	answer, err = at.ask(ctx, method, path, rand.Text(), body)
	switch {
	case err != nil:
		x.unreached(n, subject, program, err)
	case answer.status != http.StatusUnauthorized:
		n.fail(subject, fmt.Sprintf("it answers %d to a token that nobody has: anybody may ask", answer.status), "something stands in front of it that adds a token; remove that, and see who could ask")
	default:
		n.ok(subject, "accepts the token, refuses another")
	}
}

// unreached notes that a program could not be asked.
func (x *examination) unreached(n *notes, subject string, program Program, err error) {
	flag := map[Program]string{Hook: "--hook-url", Generator: "--generator-url", Sidecar: "--sidecar-url"}[program]
	workload := map[Program]string{Hook: hookWorkload, Generator: generatorWorkload, Sidecar: "argocd-" + repoServer}[program]
	logs := x.kubectl("logs deploy/%s", workload)
	if program == Sidecar {
		logs += " -c " + sidecarContainer
	}
	var tunnel *kube.Error
	switch {
	case errors.Is(err, kube.ErrForbidden):
		n.skip(subject, "needs the right to list Pods and to create pods/portforward in namespace "+x.Namespace, "propagator doctor "+flag+" URL")
	case errors.Is(err, kube.ErrNotFound):
		n.fail(subject, "there is no Deployment "+workload+" in namespace "+x.Namespace, applySuite())
	case errors.Is(err, kube.ErrUnreachable) && errors.As(err, &tunnel):
		// The way there is broken, which says nothing about who is at its end.
		n.skip(subject, "no port-forward to it: "+tunnel.Said, "propagator doctor "+flag+" URL")
	default:
		n.fail(subject, err.Error(), x.kubectl("get pods -l app.kubernetes.io/name=%s", workload)+"\n"+logs+"\nor name its address: propagator doctor "+flag+" URL")
	}
}
