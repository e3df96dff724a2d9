package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// renewGit replaces the credentials that generator and hook use.
func (x *examination) renewGit() string {
	return x.kubectl(`create secret generic %s --from-literal=username=USER --from-literal=password="$TOKEN" --dry-run=client -o yaml | kubectl apply -f -`, gitSecret) + "\n" +
		x.restart(hookWorkload) + "\n" + x.restart(generatorWorkload)
}

func checkGit(ctx context.Context, x *examination, n *notes) {
	for _, p := range x.repositoriesOrNote(ctx, n) {
		subject := "repository " + p.url
		if p.err != nil {
			x.unreadable(n, subject, p)
			continue
		}
		n.ok(subject, "%s, read with %s", plural(len(p.refs), "ref"), p.whose)
		checkConfiguration(n, subject, p)
		x.checkMayPush(ctx, n, subject, p)
	}
}

// unreadable says why a repository cannot be read, and with whose credentials.
func (x *examination) unreadable(n *notes, subject string, p *pipeline) {
	fix := x.renewGit()
	if strings.HasPrefix(p.whose, own) {
		fix = "propagator doctor --git-username USER --git-password-file FILE"
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
		fix := "give the hook's user the right to write (docs/operations.md, Rights), or another user:\n" + x.renewGit()
		if strings.HasPrefix(p.whose, own) {
			n.warn(subject, fmt.Sprintf("%s may not push, the hook's may all the same: %v", p.whose, err), "propagator doctor --git-username USER --git-password-file FILE")
			return
		}
		n.fail(subject, fmt.Sprintf("%s may read and not push, so nothing is captured or promoted: %v", p.whose, err), fix)
	default:
		n.fail(subject, err.Error(), "git ls-remote "+p.url)
	}
}
