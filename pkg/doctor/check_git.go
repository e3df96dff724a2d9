package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/kube"
)

// renewGit replaces the credentials in one of the Secrets for Git, and keeps the
// certificate authority that may be beside them.
func (x *examination) renewGit(ctx context.Context, secret string) string {
	user, file, workload := "$GIT_USERNAME", "$GIT_PASSWORD_FILE", hookWorkload
	if secret == gitReadSecret {
		user, file, workload = "$GIT_READ_USERNAME", "$GIT_READ_PASSWORD_FILE", generatorWorkload
	}
	authority := ""
	if s, err := x.secret(ctx, secret); err == nil && len(s.Data[caKey]) > 0 {
		authority = fmt.Sprintf(` --from-literal=%s="$(kubectl -n %s get secret %s -o jsonpath='{.data.ca\.crt}' | openssl base64 -d -A)"`, caKey, x.Namespace, secret)
	}
	return x.kubectl(`create secret generic %s --from-literal=username="%s" --from-file=password="%s"%s --dry-run=client -o yaml`, secret, user, file, authority) + " | " + applySecret + "\n" +
		"a new password is noticed within about a minute; a new user, and all at once, by:\n" + x.restart(workload)
}

func checkGit(ctx context.Context, x *examination, n *notes) {
	for _, p := range x.repositoriesOrNote(ctx, n) {
		subject := "repository " + p.url
		if p.err != nil {
			x.unreadable(ctx, n, subject, p)
			continue
		}
		n.ok(subject, "%s, read with %s", plural(len(p.refs), "ref"), p.whose)
		checkConfiguration(n, subject, p)
		x.checkMayPush(ctx, n, subject, p)
		x.checkHost(ctx, n, subject, p)
	}
	x.checkGeneratorReads(ctx, n)
}

// checkGeneratorReads asks every repository with what the generator has. An
// installation without a Secret of its own for it says so elsewhere.
func (x *examination) checkGeneratorReads(ctx context.Context, n *notes) {
	if x.Cluster == nil || x.OwnCredentials || x.GitCredentials || x.OpenRepository == nil {
		return
	}
	s, err := x.secret(ctx, gitReadSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return
	case err != nil:
		n.trouble("Secret "+gitReadSecret, err)
		return
	case len(s.Data["password"]) == 0:
		return // an ssh key, which stays where it is, or nothing, which a public repository takes
	}
	urls, err := x.repositories(ctx)
	if err != nil {
		return // said above
	}
	for _, raw := range urls {
		subject := "repository " + publicURL(raw)
		repo, err := x.OpenRepository(raw, loginOf(s))
		if err == nil {
			_, err = repo.Refs(ctx)
		}
		switch {
		case err == nil:
			n.ok(subject, "read with Secret %s", gitReadSecret)
		case errors.Is(err, gitrepo.ErrUnauthorized), errors.Is(err, gitrepo.ErrNotFound):
			n.fail(subject, fmt.Sprintf("not with Secret %s, so the generator cannot read it: %v", gitReadSecret, err), x.renewGit(ctx, gitReadSecret))
		}
	}
}

func loginOf(s *corev1.Secret) *Login {
	return &Login{Username: string(s.Data["username"]), Password: strings.TrimSpace(string(s.Data["password"]))}
}

// unreadable says why a repository cannot be read, and with whose credentials.
func (x *examination) unreadable(ctx context.Context, n *notes, subject string, p *pipeline) {
	fix := ""
	if strings.HasPrefix(p.whose, own) {
		fix = "propagator doctor --git-username USER --git-password-file FILE"
	}
	if fix == "" {
		fix = x.renewGit(ctx, gitSecret)
	}
	switch u, err := url.Parse(p.url); {
	case errors.Is(p.err, gitrepo.ErrUnauthorized), errors.Is(p.err, gitrepo.ErrNotFound):
		n.fail(subject, fmt.Sprintf("not with %s: %v", p.whose, p.err), fix)
	case err == nil && inCluster(u.Host) && errors.Is(p.err, gitrepo.ErrUnreachable):
		n.skip(subject, "its address means something inside the cluster only", "run propagator doctor in a Pod, or name another address of it: --repository URL")
	default:
		n.fail(subject, p.err.Error(), "git ls-remote "+p.url)
	}
}

func checkConfiguration(n *notes, subject string, p *pipeline) {
	var faults config.Faults
	switch {
	case p.configErr == nil:
		var open, closed []string
		for _, e := range p.config.Environments {
			if e.First() {
				continue
			}
			if p.refs[gitrepo.Heads+e.Branch] != "" {
				open = append(open, e.Branch)
			} else {
				closed = append(closed, e.Branch)
			}
		}
		message := "pipeline " + p.config.Name
		if len(open) > 0 {
			message += "; has " + strings.Join(open, ", ")
		}
		if len(closed) > 0 {
			message += "; the first promotion makes " + strings.Join(closed, ", ")
		}
		n.ok(subject, "%s", message)
	case errors.Is(p.configErr, fs.ErrNotExist):
		n.fail(subject, fmt.Sprintf("branch %s has no %s", p.branch, config.File), "propagator init, then commit and push "+config.File)
	case errors.As(p.configErr, &faults):
		n.fail(subject, fmt.Sprintf("%s of branch %s: %v", config.File, p.branch, p.configErr), "correct it and push; docs/configuration.md explains every field")
	default:
		n.fail(subject, p.configErr.Error(), "name the branch that holds "+config.File+": --branch, and PROPAGATOR_BRANCH in ConfigMap "+settingsMap)
	}
}

func (x *examination) checkMayPush(ctx context.Context, n *notes, subject string, p *pipeline) {
	err := p.repo.MayPush(ctx)
	switch {
	case err == nil:
		n.ok(subject, "%s may push; whether to environments/* and tags, only a push tells", p.whose)
	case errors.Is(err, gitrepo.ErrUnauthorized), errors.Is(err, gitrepo.ErrRejected), errors.Is(err, gitrepo.ErrNotFound):
		if strings.HasPrefix(p.whose, own) {
			n.warn(subject, fmt.Sprintf("%s may not push, the hook's may all the same: %v", p.whose, err), "propagator doctor --git-username USER --git-password-file FILE")
			return
		}
		n.fail(subject, fmt.Sprintf("%s may read and not push, so nothing is captured or promoted: %v", p.whose, err),
			"give the hook's user the right to write (docs/operations.md, Rights), or another user:\n"+x.renewGit(ctx, gitSecret))
	default:
		n.fail(subject, err.Error(), "git ls-remote "+p.url)
	}
}
