package promotion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/signer"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Bounds of signed requests.
const (
	// maxSigned is how many requests are read in one look; the oldest come first,
	// so that later ones cannot keep them from their turn.
	maxSigned = 64
	// maxSignedObject is for a tag object with its signature, in bytes.
	maxSignedObject = 64 << 10
	// answerLate is how long after its time a request still gets an answer: nobody
	// may have been there to give it.
	answerLate = 7 * 24 * time.Hour
)

// SignedRequest is an annotated tag request/<environment>/… that nothing in the
// environment's ledger answers yet.
type SignedRequest struct {
	snapshot.RequestRef
	Name snapshot.RequestName
	// Expires is until when it is carried out.
	Expires time.Time
	// Signer is the e-mail address of who has signed it and may ask; empty when
	// nobody has. Then Fault says what is wrong, and it is not answered in the
	// ledger: strangers write nothing there.
	Signer string
	Fault  string
	// Asked is what the signer asks for. It is not to be used if Malformed says
	// what is wrong with it.
	Asked     snapshot.Request
	Malformed string
}

// answered reports whether an entry of the ledger was made because of a request.
func (e Environment) answered(id gitrepo.Hash) bool {
	return slices.ContainsFunc(e.History, func(entry snapshot.Entry) bool { return entry.Request.ID == id })
}

// observeRequests reads the requests that are not answered. Those whose names say
// that their time is over cost nothing.
func (e *Engine) observeRequests(ctx context.Context, s *State, refs gitrepo.Refs) error {
	for ref, id := range refs {
		tag, _ := strings.CutPrefix(ref, gitrepo.Tags)
		name, ok := snapshot.ParseRequestName(tag)
		if !ok || name.Pipeline != s.Pipeline.Name || gitrepo.Tags+tag != ref {
			continue
		}
		environment, known := s.Environment(name.Environment)
		if !known || environment.Unreadable != "" || environment.answered(id) {
			continue
		}
		r := SignedRequest{RequestRef: snapshot.RequestRef{Tag: tag, ID: id}, Name: name, Expires: name.When.Add(config.DefaultRequestsWithin)}
		if environment.Requests != nil {
			r.Expires = name.When.Add(environment.Requests.Within)
		}
		if s.Now.Before(r.Expires.Add(answerLate)) {
			s.Requests = append(s.Requests, r)
		}
	}
	slices.SortFunc(s.Requests, func(a, b SignedRequest) int {
		return cmp.Or(a.Name.When.Compare(b.Name.When), strings.Compare(a.Tag, b.Tag))
	})
	s.Requests = s.Requests[:min(len(s.Requests), maxSigned)]
	if len(s.Requests) == 0 {
		return nil
	}
	ids := map[gitrepo.Hash]bool{}
	for _, r := range s.Requests {
		ids[r.ID] = true
	}
	if err := e.fetchTags(ctx, ids); err != nil {
		return err
	}
	lists := map[string]signerList{}
	for i := range s.Requests {
		r := &s.Requests[i]
		environment, _ := s.Environment(r.Name.Environment)
		r.Fault = e.read(s, environment, r, lists)
	}
	// What is not trusted is shown for as long as it might have been carried out.
	s.Requests = slices.DeleteFunc(s.Requests, func(r SignedRequest) bool { return r.Signer == "" && s.Now.After(r.Expires) })
	return nil
}

// fetchTags fetches tag objects. One that names something odd, or is gone
// meanwhile, must not hide the others.
func (e *Engine) fetchTags(ctx context.Context, ids map[gitrepo.Hash]bool) error {
	var tags []sourceTag
	for id := range ids {
		tags = append(tags, sourceTag{id: id})
	}
	slices.SortFunc(tags, func(a, b sourceTag) int { return strings.Compare(string(a.id), string(b.id)) })
	_, err := e.peel(ctx, tags)
	return err
}

// read fills in what the tag object says, and returns why it is not trusted.
func (e *Engine) read(s *State, environment Environment, r *SignedRequest, lists map[string]signerList) (fault string) {
	if environment.Requests == nil {
		return fmt.Sprintf("nobody may ask for anything in %s; name those who may in %s: environments[].requests.signers", environment.Name, config.File)
	}
	object, err := e.Repo.Object(r.ID)
	if err != nil {
		return brief(err.Error())
	}
	if len(object.Data) > maxSignedObject {
		return fmt.Sprintf("the tag has %d bytes; at most %d are read", len(object.Data), maxSignedObject)
	}
	tag, err := gitrepo.ParseTag(object)
	switch {
	case err != nil:
		return "it is not an annotated tag; use propagator … --request"
	case tag.Name != r.Tag:
		return fmt.Sprintf("the tag object calls itself %s", brief(tag.Name))
	case !tag.Tagger.When.Equal(r.Name.When):
		return fmt.Sprintf("its date is %s, not that of its name", tag.Tagger.When.UTC().Format(time.RFC3339))
	case r.Name.When.After(s.Now.Add(maxSkew)):
		return "its date is in the future; correct the clock of the machine on which it was signed"
	case len(environment.History) == historyDepth && environment.History[historyDepth-1].When.After(r.Name.When.Add(-maxSkew)):
		return fmt.Sprintf("the %d newest entries of the ledger do not tell whether it was carried out; ask again", historyDepth)
	}
	path := environment.Requests.Signers
	list, known := lists[path]
	if !known {
		list.allowed, list.err = e.readSigners(s.SourceTip, path)
		lists[path] = list
	}
	if list.err != nil {
		return brief(list.err.Error())
	}
	who, err := list.allowed.VerifyFor(object.Data, tag.Tagger.Email, tag.Tagger.When)
	switch {
	case errors.Is(err, signer.ErrUnsigned):
		return "it is not signed; use propagator … --request"
	case err != nil:
		return brief(err.Error())
	}
	r.Signer = who.Principal
	r.Malformed = r.decode(s, object, tag)
	return ""
}

// decode reads what a trusted signer asks for, and returns what is wrong with it.
func (r *SignedRequest) decode(s *State, object gitrepo.Object, tag gitrepo.Tag) (malformed string) {
	payload, _, err := signer.SplitSignature(object.Data)
	if err != nil {
		return brief(err.Error())
	}
	plain, err := gitrepo.ParseTag(gitrepo.Object{Type: gitrepo.TypeTag, Data: payload})
	if err != nil {
		return brief(err.Error())
	}
	asked, err := snapshot.ParseRequest(plain.Message)
	if err != nil {
		return err.Error()
	}
	r.Asked = asked
	switch {
	case asked.Name(r.Name.When, r.Name.Unique) != r.Name:
		return fmt.Sprintf("the message asks to %s, which is not what the tag is called", asked.Subject())
	case !asked.Version.IsZero() && s.Tags[asked.Version] == "":
		return fmt.Sprintf("there is no snapshot %s", asked.Version)
	case !asked.Version.IsZero() && tag.Object != s.Tags[asked.Version]:
		return fmt.Sprintf("it was signed for the commit %s, and %s is %s", tag.Object.Short(), asked.Version, s.Tags[asked.Version].Short())
	}
	return ""
}

// planSigned decides about the requests for an environment, in the order in which
// they were signed.
func planSigned(s *State, e Environment) (d Decision) {
	for _, r := range s.Requests {
		if r.Name.Environment != e.Name {
			continue
		}
		wait := func(reason Reason, detail string, until time.Time) {
			d.Waits = append(d.Waits, Wait{
				Environment: e.Name, Version: r.Name.Version.String(), Reason: reason, Detail: detail, Until: until, Request: r.Tag,
			})
		}
		if r.Signer == "" {
			wait(RequestRefused, fmt.Sprintf("%s: %s", r.Tag, r.Fault), r.Expires)
			continue
		}
		step, err := r.plan(s, e)
		var no *RefusedError
		pending := errors.As(err, &no) && !no.Final()
		expired := s.Now.After(r.Expires)
		switch {
		case err == nil && !expired:
			step.Request, step.actor = r.RequestRef, r.Signer
			d.Steps = append(d.Steps, step)
		case err == nil:
			d.Steps = append(d.Steps, r.refuse("nobody was there to carry it out in time"))
		case pending && no.question != nil:
			d.Ask = append(d.Ask, *no.question)
		case pending && !expired:
			until := r.Expires
			if !no.Wait.Until.IsZero() && no.Wait.Until.Before(until) {
				until = no.Wait.Until
			}
			wait(no.Wait.Reason, fmt.Sprintf("%s asks to %s until %s: %s",
				r.Signer, r.Asked.Subject(), r.Expires.UTC().Format("2006-01-02 15:04 MST"), no.Wait.Detail), until)
		case pending:
			d.Steps = append(d.Steps, r.refuse("its time is over: "+no.Error()))
		default:
			d.Steps = append(d.Steps, r.refuse(err.Error()))
		}
	}
	return d
}

// Final reports whether time alone changes nothing about a refusal.
func (e *RefusedError) Final() bool {
	switch e.Wait.Reason {
	case AlreadyThere, OlderThanCurrent, UnknownSnapshot, Rejected, RequestOvertaken:
		return true
	}
	return false
}

// plan is what the request comes to as if the signer had run the command here.
func (r SignedRequest) plan(s *State, e Environment) (Step, error) {
	if r.Malformed != "" {
		return Step{}, errors.New(r.Malformed)
	}
	asked := r.Asked
	if event, at := e.stoppedSince(r.Name.When); event != "" && (asked.Verb == snapshot.EventPromote || asked.Verb == snapshot.EventResume) {
		return Step{}, refused(e.Name, asked.Version, RequestOvertaken, "a %s came after it, at %s", event, at.Format("2006-01-02 15:04 MST"))
	}
	switch asked.Verb {
	case snapshot.EventPromote, snapshot.EventRollback:
		request := Request{Environment: e.Name, Version: asked.Version, Rollback: asked.Verb == snapshot.EventRollback, Reason: asked.Reason}
		for _, name := range asked.Overrides {
			request.Overrides = append(request.Overrides, Reason(name))
		}
		return PlanRequest(s, request)
	}
	return PlanNote(s, e.Name, Note{Event: asked.Verb, Version: asked.Version, Passed: asked.Passed, Until: asked.Until, Reason: asked.Reason})
}

// stoppedSince is what somebody did after a moment to keep an environment as it
// is: whoever asked before did not know of it.
func (e Environment) stoppedSince(at time.Time) (snapshot.Event, time.Time) {
	for _, entry := range e.History {
		said := entry.When
		if name, ok := snapshot.ParseRequestName(entry.Request.Tag); ok {
			said = name.When // however long it was on its way
		}
		switch entry.Event {
		case snapshot.EventHold, snapshot.EventFreeze, snapshot.EventRollback:
			if said.After(at) {
				return entry.Event, said
			}
		}
	}
	return "", time.Time{}
}

// refuse answers a request in the ledger, for good.
func (r SignedRequest) refuse(why string) Step {
	about := r.Name.Version
	what := fmt.Sprintf("%s about %s", r.Name.Verb, r.Name.Environment)
	if r.Malformed == "" {
		what = r.Asked.Subject()
	}
	reason := fmt.Sprintf("%s asked to %s: %s", r.Signer, what, why)
	return Step{
		Kind: Annotate, Environment: r.Name.Environment, Version: about, Reason: reason, Request: r.RequestRef,
		Note: &Note{Event: snapshot.EventRefuse, Version: about, Reason: reason},
	}
}

// checkRequest looks whether the request of a step is still there: who deletes or
// moves its tag takes it back.
func (e *Engine) checkRequest(ctx context.Context, environment Environment, step Step) error {
	if step.Request.ID == "" {
		return nil
	}
	if environment.answered(step.Request.ID) {
		return refused(environment.Name, step.Version, AlreadyThere, "%s was answered meanwhile", step.Request.Tag)
	}
	ref := gitrepo.Tags + step.Request.Tag
	refs, err := e.Repo.Refs(ctx, ref)
	if err != nil {
		return err
	}
	if refs[ref] != step.Request.ID {
		return refused(environment.Name, step.Version, RequestRefused, "%s was deleted or moved meanwhile", step.Request.Tag)
	}
	return nil
}
