package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// maxReport bounds the answer to a push.
const maxReport = 16 << 20

// Push implements [gitrepo.Writer].
func (r *Repo) Push(ctx context.Context, push gitrepo.Push) error {
	_, err := do(ctx, r, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.push(ctx, push)
	})
	return err
}

func (r *Repo) push(ctx context.Context, push gitrepo.Push) error {
	if err := push.Validate(); err != nil {
		return err
	}
	packed, err := pack(push.Objects)
	if err != nil {
		return err
	}
	if s := r.dial.again(receivePack); s != nil {
		// The server compares the refs in any case.
		err := r.send(ctx, s, push, packed, true)
		if !misunderstood(err) {
			return err
		}
	}
	s, err := r.dial.open(ctx, receivePack)
	if err != nil {
		return err
	}
	defer s.close()
	// This only saves sending the pack.
	if err := push.Check(refsOf(s.advertised())); err != nil {
		return err
	}
	return r.send(ctx, s, push, packed, false)
}

// send pushes. blind says that nobody has compared the refs before.
func (r *Repo) send(ctx context.Context, s session, push gitrepo.Push, packed []byte, blind bool) error {
	req, err := updateRequest(s.advertised(), push)
	if err != nil {
		return err
	}
	req.Packfile = io.NopCloser(bytes.NewReader(packed))
	var body bytes.Buffer
	if err := req.Encode(&body); err != nil {
		return err
	}
	answer, err := s.exchange(ctx, body.Bytes())
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	report, said, err := readReport(answer, req)
	if err != nil {
		return err
	}
	if err := r.judge(ctx, push, report, said, blind); err != nil {
		return err
	}
	r.store.Put(push.Objects...)
	return nil
}

func updateRequest(adv *packp.AdvRefs, push gitrepo.Push) (*packp.ReferenceUpdateRequest, error) {
	if !adv.Capabilities.Supports(capability.ReportStatus) {
		return nil, fmt.Errorf("%w: the server does not report what became of a push (no report-status)", gitrepo.ErrRejected)
	}
	atomic := adv.Capabilities.Supports(capability.Atomic)
	if !atomic && len(push.Updates) > 1 {
		return nil, fmt.Errorf("%w: the server cannot update %d refs atomically; git 2.4 and every larger git host can", gitrepo.ErrRejected, len(push.Updates))
	}
	req := packp.NewReferenceUpdateRequest()
	for _, c := range []capability.Capability{capability.ReportStatus, capability.Atomic, capability.OFSDelta, capability.Quiet} {
		if adv.Capabilities.Supports(c) {
			_ = req.Capabilities.Set(c) // these take no value, so it cannot fail
		}
	}
	if adv.Capabilities.Supports(capability.Sideband64k) {
		_ = req.Capabilities.Set(capability.Sideband64k)
	}
	if adv.Capabilities.Supports(capability.Agent) {
		_ = req.Capabilities.Set(capability.Agent, capability.DefaultAgent())
	}
	for _, u := range push.Updates {
		req.Commands = append(req.Commands, &packp.Command{
			Name: plumbing.ReferenceName(u.Ref), Old: plumbing.NewHash(string(u.Old)), New: plumbing.NewHash(string(u.New)),
		})
	}
	return req, nil
}

// readReport decodes the server's report and what its hooks said. An answer
// that breaks off leaves the push undecided, which is what ErrUnreachable says.
func readReport(answer io.Reader, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, string, error) {
	said := &tail{}
	stream := limit(answer, maxReport)
	if req.Capabilities.Supports(capability.Sideband64k) {
		d := sideband.NewDemuxer(sideband.Sideband64k, stream)
		d.Progress, stream = said, d
	}
	report := packp.NewReportStatus()
	if err := report.Decode(stream); err != nil {
		return nil, "", fmt.Errorf("%w: the answer to the push is incomplete, look at the refs: %w%s", gitrepo.ErrUnreachable, err, quoted(said.String()))
	}
	_, _ = io.Copy(io.Discard, stream) // hooks that run after the update
	return report, said.String(), nil
}

func quoted(said string) string {
	if said == "" {
		return ""
	}
	return fmt.Sprintf(": the server says %q", said)
}

// judge turns the report into the port's errors. What a server that is not git's own
// calls a ref that has moved is not known; where nobody has compared them before, the
// refs are listed whatever it says.
func (r *Repo) judge(ctx context.Context, push gitrepo.Push, report *packp.ReportStatus, said string, blind bool) error {
	if report.UnpackStatus != "ok" {
		return fmt.Errorf("%w: the server cannot unpack the objects: %s%s", gitrepo.ErrRejected, report.UnpackStatus, quoted(said))
	}
	accepted := map[string]bool{}
	var refused *packp.CommandStatus
	for _, s := range report.CommandStatuses {
		if s.Status == "ok" {
			accepted[s.ReferenceName.String()] = true
		} else if refused == nil || bystander(refused.Status) {
			refused = s
		}
	}
	if refused == nil {
		for _, u := range push.Updates {
			if !accepted[u.Ref] {
				return fmt.Errorf("%w: the server did not report on %s, look at the refs", gitrepo.ErrUnreachable, u.Ref)
			}
		}
		return nil
	}
	rejected := fmt.Errorf("%w: %s: %s%s", gitrepo.ErrRejected, refused.ReferenceName, refused.Status, quoted(said))
	if !blind && !contended(refused.Status) {
		return rejected
	}
	return r.recheck(ctx, push, refused, rejected)
}

// recheck lists the refs again after a refusal that may mean a lost race. If a ref
// moved it was one; if none did, "non-fast-forward" is a rule of the server, and other
// words that are known another push that is under way.
func (r *Repo) recheck(ctx context.Context, push gitrepo.Push, refused *packp.CommandStatus, rejected error) error {
	refs, err := r.dial.list(ctx, nil)
	if err != nil {
		return err
	}
	if err := push.Check(refs); err != nil {
		return err
	}
	if !contended(refused.Status) || strings.Contains(refused.Status, "fast") {
		return rejected
	}
	for _, u := range push.Updates {
		if u.Ref == refused.ReferenceName.String() {
			return fmt.Errorf("%w (%s)", &gitrepo.RefMovedError{Ref: u.Ref, Want: u.Old}, refused.Status)
		}
	}
	return rejected
}

// bystander says that a ref was only refused because another one was, or that
// the transaction failed as a whole, which git reports for each ref alike.
func bystander(status string) bool {
	return strings.Contains(status, "atomic")
}

// contended knows how servers say that a ref did not have its old value or was
// being moved at that moment.
func contended(text string) bool {
	lower := strings.ToLower(text)
	for _, words := range []string{
		"fetch first", "non-fast-forward", "failed to update ref", "failed to lock", "cannot lock ref", "lock error",
		"stale info", "already exists", "incorrect old value", "atomic",
		"invalid old id", "no such ref", "ref exists", // JGit
	} {
		if strings.Contains(lower, words) {
			return true
		}
	}
	return false
}
