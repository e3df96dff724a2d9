package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/mirror"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/render"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Exit codes beyond those of package service.
const (
	exitRefused = 3
	exitFault   = 4
	// exitTimeOver is for what has not happened in the time given.
	exitTimeOver = 5
	// exitDiffers is for diff --exit-code.
	exitDiffers = 6
)

// hinted is an error that knows what to type.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// usage is a mistake in how the command was called.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return usageHint(cmd.CommandPath()+" --help", format, args...)
}

func usageHint(hint, format string, args ...any) error {
	return service.UsageError(&hinted{error: fmt.Errorf(format, args...), hint: hint})
}

// faultFound is what a verification ends with when something is not as it
// should be.
func faultFound(hint string, err error) error {
	return &service.ExitError{Code: exitFault, Err: &hinted{error: err, hint: hint}}
}

// forged is a snapshot that Propagator did not write; err may also be why it
// could not be read at all, and then stays what it is.
func forged(ctx context.Context, err error) error {
	var refused *promotion.RefusedError
	if err == nil || ctx.Err() != nil || errors.As(err, &refused) {
		return err
	}
	for _, sentinel := range []error{gitrepo.ErrUnreachable, gitrepo.ErrUnauthorized, gitrepo.ErrNotFound} {
		if errors.Is(err, sentinel) {
			return err
		}
	}
	return faultFound(forgedHint, err)
}

const forgedHint = "only Propagator writes snapshots; do not use this one, and find out who set its tag"

// foreignEntry is a ledger that somebody else wrote to.
func foreignEntry(err error) error {
	return faultFound("find out who wrote to the branch, and protect it; nobody but Propagator may", err)
}

// explain is the border: it gives every error its message, its hint and its
// exit code, and there is no other place that does.
func explain(err error) error {
	code, hint := diagnose(err)
	text := shorten(err)
	var refused *promotion.RefusedError
	if errors.As(err, &refused) {
		text = "refused: " + strings.TrimSpace(refused.Error())
	}
	if hint != "" {
		text += "\nhint: " + hint
	}
	return &service.ExitError{Code: code, Err: errors.New(text)}
}

// maxLines bounds a message: a registry that is out of reach fails every image
// in the same words. The faults of a configuration are different ones, and all
// are wanted.
const maxLines = 10

func shorten(err error) string {
	text := strings.TrimSpace(err.Error())
	lines := strings.Split(text, "\n")
	if errors.As(err, new(config.Faults)) || len(lines) <= maxLines {
		return text
	}
	return fmt.Sprintf("%s\nand %d more", strings.Join(lines[:maxLines], "\n"), len(lines)-maxLines)
}

// diagnose goes from what is known best to what is known least.
func diagnose(err error) (code int, hint string) {
	var (
		known   *hinted
		exit    *service.ExitError
		refused *promotion.RefusedError
		faults  config.Faults
		missing *promotion.MissingImageError
		moved   *gitrepo.RefMovedError
		renders *render.Error
		failed  *promotion.Error
	)
	code = service.ExitFailure
	if errors.As(err, &exit) {
		code = exit.Code
	} else if errors.As(err, &refused) {
		code = exitRefused
	}
	switch {
	case errors.As(err, &known):
		return code, known.hint
	case errors.As(err, &refused):
		return code, refusedHint(refused.Wait)
	case errors.As(err, &faults):
		return service.ExitUsage, "correct " + config.File + " and push it; docs/configuration.md explains every field"
	case errors.As(err, &missing):
		return code, missingImageHint(missing)
	case errors.As(err, &moved):
		return code, "somebody else was faster and nothing was changed; run the same command again"
	case errors.As(err, &failed) && failed.Side == "config" && errors.Is(err, fs.ErrNotExist):
		return service.ExitUsage, "propagator init, then commit and push " + config.File
	}
	if hint := gitHint(err); hint != "" {
		return code, hint
	}
	if hint := registryHint(err); hint != "" {
		return code, hint
	}
	switch {
	case errors.Is(err, snapshot.ErrNoSnapshot):
		return exitFault, forgedHint
	case errors.As(err, &renders):
		return code, "try it in your checkout: propagator render ENVIRONMENT " + renders.Application + " --dir ."
	case errors.As(err, &failed) && failed.Side == "config":
		return service.ExitUsage, "correct " + config.File + " and push it, or name the branch that has it with --branch"
	case errors.As(err, &failed) && failed.Side == "render":
		return code, "try it in your checkout: propagator render ENVIRONMENT --dir ."
	case errors.As(err, &failed) && failed.Side == "git":
		return code, "what is in the repository is not as Propagator wrote it; propagator snapshot verify VERSION says what is wrong with a snapshot"
	}
	return code, ""
}

// refusedHint is the reason's help and what to type next.
func refusedHint(w promotion.Wait) string {
	hint := w.Reason.Help()
	if strings.HasPrefix(w.Environment, hotfixPrefix) && w.Reason == promotion.AlreadyThere {
		hint = "" // that is about snapshots
	}
	next := nextFor(w)
	if hint == "" {
		return next
	}
	if next != "" {
		hint += "\nnext: " + next
	}
	return strings.TrimSpace(hint)
}

// nextFor is what to type about something that is not done; empty when waiting
// is all there is.
func nextFor(w promotion.Wait) (next string) {
	if name, ok := strings.CutPrefix(w.Environment, hotfixPrefix); ok {
		if w.Reason == promotion.HotfixUnusable || w.Reason == promotion.HotfixConflict {
			return "propagator hotfix show " + name
		}
		return "propagator hotfix list --all"
	}
	switch w.Reason {
	case promotion.HotfixLost, promotion.BackMergeOwed:
		next = "propagator hotfix list"
	case promotion.ApprovalMissing:
		tag := fmt.Sprintf("approve/%s/%s/<you>", w.Environment, w.Version)
		kind := "-a"
		if strings.Contains(w.Detail, "/<you>, signed") {
			kind = "-s"
		}
		next = fmt.Sprintf("git fetch --tags && git tag %s %s %s && git push origin %s", kind, tag, w.Version, tag)
	case promotion.UnknownSnapshot:
		if next = "propagator snapshot list"; w.Version == "" {
			next = "propagator snapshot create"
		}
	case promotion.OlderThanCurrent:
		next = fmt.Sprintf("propagator promote %s %s --rollback --reason '...'", w.Environment, w.Version)
	case promotion.ReleaseInProgress, promotion.OutsideWindow, promotion.EnvFrozen, promotion.GateClosed, promotion.GateUnknown:
		next = "propagator explain " + strings.TrimSpace(w.Environment+" "+w.Version)
	case promotion.NotValidated, promotion.SoakNotReached, promotion.AlreadyThere, promotion.HealthUnknown, promotion.Superseded:
		next = "propagator status"
	case promotion.EnvOnHold, promotion.ManualPromotion:
		next = fmt.Sprintf("propagator promote %s %s", w.Environment, w.Version)
	case promotion.ImageMissing, promotion.DamagedSnapshot, promotion.ImageNotInLock, promotion.ForeignRegistry:
		if next = "propagator status"; w.Version != "" {
			next = "propagator snapshot verify " + w.Version
		}
	case promotion.MirrorIncomplete:
		next = fmt.Sprintf("propagator mirror copy %s %s", w.Environment, w.Version)
	case promotion.LedgerUnavailable:
		next = "propagator recover --dry-run"
	case promotion.Rejected:
		next = "propagator history " + w.Environment
	}
	return next
}

func missingImageHint(missing *promotion.MissingImageError) string {
	if hint := registryHint(missing.Err); hint != "" && !errors.Is(missing.Err, registry.ErrNotFound) {
		return hint
	}
	return "nothing was written; push the image, or correct the reference in the manifests, then run the command again"
}

func gitHint(err error) string {
	switch {
	case errors.Is(err, gitrepo.ErrUnauthorized):
		return "give --git-username and --git-password-file (variables PROPAGATOR_GIT_USERNAME and PROPAGATOR_GIT_PASSWORD), or --git-ssh-key for ssh"
	case errors.Is(err, gitrepo.ErrUnreachable):
		return "try git ls-remote with the same address; name another with --repository (or PROPAGATOR_REPOSITORY)"
	case errors.Is(err, gitrepo.ErrRejected):
		return "the server does not let you push; ask for the right to create tags and to move the environments' branches"
	case errors.Is(err, gitrepo.ErrNotFound):
		return "check --repository and --branch; propagator.yaml is read from the source branch"
	}
	return ""
}

func registryHint(err error) string {
	name := "<registry>"
	var image *mirror.Error
	if errors.As(err, &image) {
		name = image.Registry
	}
	host, _, _ := strings.Cut(name, "/")
	switch {
	case errors.Is(err, registry.ErrUnauthorized):
		return "docker login " + host + "; credentials are read from the Docker configuration ($DOCKER_CONFIG or ~/.docker)"
	case errors.Is(err, registry.ErrUnreachable):
		return "run the command again, what was copied stays copied; if the registry has another address: --registry-endpoint " + host + "=https://..."
	case errors.Is(err, registry.ErrDigestMismatch):
		return "the registry serves other bytes than it was given; do not trust it before that is explained"
	case errors.Is(err, registry.ErrNotFound):
		return "an image is not complete where it has to be read from; propagator mirror verify says in which environment it still is"
	}
	return ""
}
