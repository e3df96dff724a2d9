package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// approved is the result of approve.
type approved struct {
	Environment string       `json:"environment"`
	Version     string       `json:"version"`
	Tag         string       `json:"tag"`
	Commit      gitrepo.Hash `json:"commit"`
	By          string       `json:"by"`
	DryRun      bool         `json:"dryRun"`
	// Missing is what the promotion still waits for.
	Missing []promotion.Wait `json:"missing"`
}

// approveOptions are the flags of approve.
type approveOptions struct {
	message, email string
	dryRun         bool
	by             *string
}

func approveCommand(a *app) *cobra.Command {
	var o approveOptions
	cmd := &cobra.Command{
		Use:   "approve ENVIRONMENT [VERSION]",
		Short: "agree to the promotion of a snapshot",
		Long: `approve sets the annotated tag that an approval gate counts, on the snapshot's
commit: approve/<environment>/<version>/<you>. It is what git tag -a and git push
would do, and needs the right to push that tag. Without a version it is the newest
snapshot that waits for approval in the environment.

The tag has your name (--actor) and e-mail address (--email, or user.email of your
Git configuration). Where the gate asks for signatures, Git signs it with your key,
as git tag -s would.`,
		Example: `  propagator approve prod
  propagator approve prod v1.4.0 --message 'tested by hand'`,
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.complete(completeLedger, completeVersion),
	}
	f := cmd.Flags()
	f.StringVarP(&o.message, "message", "m", "", "what the tag says")
	f.StringVar(&o.email, "email", "", "your e-mail `address` (default: user.email of the Git configuration)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, write nothing")
	o.by = bindActor(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		who, err := a.approver(cmd, o)
		if err != nil {
			return err
		}
		s, err := a.openToWrite(cmd, who.Name, o.dryRun)
		if err != nil {
			return err
		}
		state, err := s.Observe(cmd.Context())
		if err != nil {
			return err
		}
		environment, version, err := approvable(cmd, state, args)
		if err != nil {
			return err
		}
		result, err := s.approve(cmd, a, state, environment, version, who, o)
		if err != nil {
			return err
		}
		return a.print(result, result.table)
	}
	return cmd
}

// namePattern is what may be the last part of an approval's tag.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,60}$`)

// approver is who sets the tag.
func (a *app) approver(cmd *cobra.Command, o approveOptions) (gitrepo.Signature, error) {
	name, err := a.actor(*o.by)
	if err != nil {
		return gitrepo.Signature{}, err
	}
	if !namePattern.MatchString(name) || strings.HasSuffix(name, ".lock") || strings.Contains(name, "..") {
		return gitrepo.Signature{}, usage(cmd, "%q cannot be part of a tag's name; give another with --actor", name)
	}
	email := cmp.Or(strings.TrimSpace(o.email), a.variable("GIT_AUTHOR_EMAIL"))
	if email == "" {
		if email, err = gitremote.UserEmail("."); err != nil {
			return gitrepo.Signature{}, usageHint("add --email ADDRESS, or git config --global user.email ADDRESS", "%w", err)
		}
	}
	if email == "" || strings.ContainsAny(email, "<>\n\r") {
		return gitrepo.Signature{}, usageHint("add --email ADDRESS, or git config --global user.email ADDRESS", "no usable e-mail address for the tag: %q", email)
	}
	return gitrepo.Signature{Name: name, Email: email, When: time.Now().UTC().Truncate(time.Second)}, nil
}

// approvable is the snapshot that is named, or the newest that waits for
// approval.
func approvable(cmd *cobra.Command, state *promotion.State, args []string) (promotion.Environment, snapshot.Version, error) {
	environment, version, err := subjectOf(cmd, state, args)
	if err != nil || len(args) > 1 {
		return environment, version, err
	}
	for _, candidate := range state.Versions() {
		if candidate.Compare(environment.Current().Snapshot) <= 0 {
			break
		}
		for _, f := range promotion.Explain(state, environment, candidate) {
			if f.Reason == promotion.ApprovalMissing {
				return environment, candidate, nil
			}
			if f.Reason == promotion.NotValidated || f.Reason == promotion.Rejected {
				break
			}
		}
	}
	return environment, version, usageHint("propagator explain "+environment.Name, "nothing waits for approval in %s", environment.Name)
}

func (s *session) approve(cmd *cobra.Command, a *app, state *promotion.State, e promotion.Environment, version snapshot.Version, who gitrepo.Signature, o approveOptions) (approved, error) {
	ctx := cmd.Context()
	name := strings.Join([]string{"approve", e.Name, version.String(), who.Name}, "/")
	result := approved{
		Environment: e.Name, Version: version.String(), Tag: name, Commit: state.Tags[version], By: who.Name, DryRun: o.dryRun, Missing: []promotion.Wait{},
	}
	if !o.dryRun {
		message := cmp.Or(strings.TrimSpace(o.message), fmt.Sprintf("approve %s for %s", version, e.Name))
		tag := gitrepo.Tag{Object: result.Commit, Type: gitrepo.TypeCommit, Name: name, Tagger: who, Message: message + "\n"}
		var err error
		if e.ApprovalGate().Signers != "" {
			// One that is not signed would count for nothing, and take the name.
			_, err = s.pushSigned(cmd, a, tag)
		} else {
			object := gitrepo.NewTag(tag)
			err = s.Repo.Push(ctx, gitrepo.Push{Objects: []gitrepo.Object{object}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: object.ID()}}})
		}
		var moved *gitrepo.RefMovedError
		switch {
		case errors.As(err, &moved):
			refused := &promotion.RefusedError{Wait: promotion.Wait{Environment: e.Name, Version: version.String(), Reason: promotion.AlreadyThere, Detail: "the tag " + name + " exists; nothing was changed"}}
			return result, &hinted{refused, "what it still waits for: propagator explain " + e.Name + " " + version.String() + "\nto approve anew, after a rollback for instance, give the tag another name: --actor"}
		case err != nil:
			return result, err
		}
		if state, err = s.Observe(ctx); err != nil {
			return result, err
		}
		e, _ = state.Environment(e.Name)
	}
	for _, f := range promotion.Explain(state, e, version) {
		if f.Reason != "" && f.Reason != promotion.GateUnknown {
			result.Missing = append(result.Missing, promotion.Wait{Environment: e.Name, Version: version.String(), Reason: f.Reason, Detail: f.Detail, Until: f.Until})
		}
	}
	return result, nil
}

func (r approved) table(w io.Writer) {
	text := fmt.Sprintf("%s approved %s for %s", r.By, r.Version, r.Environment)
	if r.DryRun {
		text = fmt.Sprintf("%s would have approved %s for %s (dry run, nothing was written)", r.By, r.Version, r.Environment)
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, fact{"tag", r.Tag}, fact{"commit", r.Commit.Short()})
	for _, wait := range r.Missing {
		_, _ = fmt.Fprintln(w, printable("still: "+string(wait.Reason)+": "+wait.Detail))
	}
}
