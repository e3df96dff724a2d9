package cli

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// asked is the result of a verb with --request.
type asked struct {
	Environment string       `json:"environment"`
	Version     string       `json:"version,omitempty"`
	Asks        string       `json:"asks"`
	Tag         string       `json:"tag"`
	Object      gitrepo.Hash `json:"object,omitempty"`
	By          string       `json:"by"`
	Until       time.Time    `json:"until"`
	DryRun      bool         `json:"dryRun"`
	// Missing is what the hook would wait for now.
	Missing []promotion.Wait `json:"missing"`
	// Next is how to see what becomes of it.
	Next string `json:"next"`
}

// bindRequest adds --request, for verbs that the hook can carry out.
func bindRequest(flags *pflag.FlagSet) *bool {
	return flags.Bool("request", false, "ask the hook to do it, with a tag that Git signs with your key; it needs the right to push that tag, and nothing else")
}

// requester is who signs, as Git has it.
func (a *app) requester(cmd *cobra.Command) (gitrepo.Signature, error) {
	if service.Typed(cmd.Flags(), "actor") {
		return gitrepo.Signature{}, usage(cmd, "--actor has no effect with --request: whoever signs is named in the ledger")
	}
	email := a.variable("GIT_COMMITTER_EMAIL")
	if email == "" {
		var err error
		if email, err = gitremote.UserEmail("."); err != nil {
			return gitrepo.Signature{}, usageHint("git config --global user.email ADDRESS", "%w", err)
		}
	}
	if email == "" || strings.ContainsAny(email, "<>\n\r") {
		return gitrepo.Signature{}, usageHint("git config --global user.email ADDRESS", "no usable e-mail address for the tag: %q", email)
	}
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if strings.ContainsRune("<>\n\r", r) {
			return -1
		}
		return r
	}, cmp.Or(a.variable("GIT_COMMITTER_NAME"), a.variable("USER"), a.variable("LOGNAME"))))
	return gitrepo.Signature{Name: cmp.Or(name, email), Email: email, When: time.Now().UTC().Truncate(time.Second)}, nil
}

// requestPromotion asks for a promotion or a rollback. Without a version it is the
// one that would be promoted here and now.
func (p *promoting) requestPromotion(cmd *cobra.Command, args []string, request promotion.Request) error {
	return p.ask(cmd, args, p.dryRun, func(s *session, state *promotion.State, e promotion.Environment, version snapshot.Version) (snapshot.Request, error) {
		request.Environment, request.Version = e.Name, version
		what := snapshot.Request{Verb: snapshot.EventPromote, Version: version, Reason: request.Reason}
		if request.Rollback {
			what.Verb = snapshot.EventRollback
		}
		for _, reason := range request.Overrides {
			what.Overrides = append(what.Overrides, string(reason))
		}
		step, err := s.PlanRequest(cmd.Context(), state, request)
		var no *promotion.RefusedError
		switch {
		case err == nil:
			what.Version = step.Version
		case errors.As(err, &no) && !no.Final() && !request.Rollback:
			if what.Version.IsZero() {
				if what.Version, err = snapshot.ParseVersion(no.Wait.Version); err != nil {
					return what, no
				}
			}
		default:
			return what, err
		}
		return what, nil
	})
}

// requestNote asks for an entry of the ledger.
func (a *app) requestNote(cmd *cobra.Command, args []string, dryRun bool, n promotion.Note) error {
	return a.ask(cmd, args, dryRun, func(_ *session, state *promotion.State, e promotion.Environment, version snapshot.Version) (snapshot.Request, error) {
		n.Version = version
		step, err := promotion.PlanNote(state, e.Name, n)
		if err != nil {
			return snapshot.Request{}, err
		}
		planned := step.Note
		return snapshot.Request{Verb: n.Event, Version: planned.Version, Reason: planned.Reason, Passed: planned.Passed, Until: planned.Until}, nil
	})
}

// ask signs and pushes what plan says, or says what it would.
func (a *app) ask(cmd *cobra.Command, args []string, dryRun bool, plan func(*session, *promotion.State, promotion.Environment, snapshot.Version) (snapshot.Request, error)) error {
	who, err := a.requester(cmd)
	if err != nil {
		return err
	}
	s, err := a.openToWrite(cmd, who.Name, dryRun)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	state, err := s.Observe(ctx)
	if err != nil {
		return err
	}
	configured, err := ledgerArgument(cmd, state.Pipeline, args[0])
	if err != nil {
		return err
	}
	e, _ := state.Environment(configured.Name)
	if e.Requests == nil {
		return usageHint(fmt.Sprintf("add to %s in %s: requests: {signers: keys/release-managers}", e.Name, config.File),
			"%s takes no requests", e.Name)
	}
	var version snapshot.Version
	if len(args) > 1 {
		if version, err = versionArgument(cmd, state.Pipeline, args[1]); err != nil {
			return err
		}
	}
	request, err := plan(s, state, e, version)
	if err != nil {
		return err
	}
	request.Pipeline, request.Environment = state.Pipeline.Name, e.Name
	unique := make([]byte, 8)
	_, _ = rand.Read(unique) // never fails
	name := request.Name(who.When, hex.EncodeToString(unique))
	message, err := request.Message()
	if err != nil {
		return usage(cmd, "this cannot be asked for: %w", err)
	}
	result := asked{
		Environment: e.Name, Version: request.Version.String(), Asks: request.Subject(), Tag: name.String(), By: who.Email,
		Until: who.When.Add(e.Requests.Within), DryRun: dryRun, Missing: []promotion.Wait{}, Next: "propagator explain " + e.Name,
	}
	if request.Verb == snapshot.EventPromote {
		result.Next = fmt.Sprintf("propagator wait --env %s --snapshot %s", e.Name, request.Version.Number())
		if _, err := s.PlanRequest(ctx, state, requestOf(request)); err != nil {
			var no *promotion.RefusedError
			if errors.As(err, &no) {
				result.Missing = append(result.Missing, no.Wait)
			}
		}
	}
	if !dryRun {
		object := state.SourceTip
		if !request.Version.IsZero() {
			object = state.Tags[request.Version]
		}
		tag := gitrepo.Tag{Object: object, Type: gitrepo.TypeCommit, Name: result.Tag, Tagger: who, Message: message}
		if result.Object, err = s.pushSigned(cmd, a, tag); err != nil {
			return err
		}
	}
	return a.print(result, result.table)
}

func requestOf(r snapshot.Request) promotion.Request {
	request := promotion.Request{Environment: r.Environment, Version: r.Version, Rollback: r.Verb == snapshot.EventRollback, Reason: r.Reason}
	for _, name := range r.Overrides {
		request.Overrides = append(request.Overrides, promotion.Reason(name))
	}
	return request
}

func (s *session) pushSigned(cmd *cobra.Command, a *app, tag gitrepo.Tag) (gitrepo.Hash, error) {
	ctx := cmd.Context()
	if err := s.Repo.Fetch(ctx, []gitrepo.Hash{tag.Object}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return "", err
	}
	target, err := s.Repo.Object(tag.Object)
	if err != nil {
		return "", err
	}
	object, err := a.sign(ctx, tag, target)
	if err != nil {
		return "", err
	}
	push := gitrepo.Push{Objects: []gitrepo.Object{object}, Updates: []gitrepo.Update{{Ref: gitrepo.Tags + tag.Name, New: object.ID()}}}
	return object.ID(), s.Repo.Push(ctx, push)
}

func (r asked) table(w io.Writer) {
	text := fmt.Sprintf("%s asks the hook to %s", r.By, r.Asks)
	if r.DryRun {
		text = fmt.Sprintf("%s would ask the hook to %s (dry run, nothing was written)", r.By, r.Asks)
	}
	_, _ = fmt.Fprintln(w, printable(text))
	writeFacts(w, fact{"tag", r.Tag}, fact{"until", moment(r.Until)})
	for _, wait := range r.Missing {
		_, _ = fmt.Fprintln(w, printable("still: "+string(wait.Reason)+": "+wait.Detail))
	}
	_, _ = fmt.Fprintln(w, "what becomes of it: "+printable(r.Next))
}
