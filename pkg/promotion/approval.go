package promotion

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/signer"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// approvalPrefix begins the names of approval tags.
const approvalPrefix = gitrepo.Tags + "approve/"

// observeApprovals reads the approval tags of snapshots that an environment
// has not got yet.
func (e *Engine) observeApprovals(ctx context.Context, s *State, refs gitrepo.Refs) error {
	found := map[string]Approval{}
	lanes := map[string]snapshot.Version{}
	var ids []gitrepo.Hash
	for ref, id := range refs {
		rest, ok := strings.CutPrefix(ref, approvalPrefix)
		if !ok {
			continue
		}
		environment, rest, _ := strings.Cut(rest, "/")
		slash := strings.LastIndexByte(rest, '/')
		if slash < 0 {
			continue
		}
		version, err := snapshot.ParseVersion(rest[:slash])
		state, known := s.Environment(environment)
		if err != nil || !known || s.Tags[version] == "" || !s.awaited(state, version, lanes) {
			continue
		}
		found[ref] = Approval{Environment: environment, Version: version, Who: rest[slash+1:]}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	if err := e.Repo.Fetch(ctx, slices.Compact(ids), gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return err
	}
	signers := e.signers(s)
	for _, ref := range slices.Sorted(maps.Keys(found)) {
		// A lightweight tag says nothing about who set it, and a tag object that
		// names itself otherwise was made for another ref.
		tag, err := gitrepo.ReadTag(e.Repo, refs[ref])
		if err != nil || gitrepo.Tags+tag.Name != ref {
			e.log().WarnContext(ctx, "approval ignored: not an annotated tag of that name", "ref", ref)
			continue
		}
		approval := found[ref]
		approval.Commit, approval.Tagger, approval.When = tag.Object, tag.Tagger.Email, tag.Tagger.When
		if state, _ := s.Environment(approval.Environment); state.ApprovalGate().NotSelf {
			if approval.Authors, err = e.authorsOf(ctx, tag.Object); err != nil {
				return err
			}
		}
		approval.Signer, approval.Unsigned = signers.verify(e.Repo, refs[ref], approval)
		s.Approvals = append(s.Approvals, approval)
	}
	return nil
}

// awaited reports whether the environment may still take a snapshot, so that
// approvals of it matter: a newer one, or the patch of its hotfix lane. Lanes
// remembers what was worked out for the environments.
func (s *State) awaited(e Environment, version snapshot.Version, lanes map[string]snapshot.Version) bool {
	if version.Compare(e.Current().Snapshot) > 0 {
		return true
	}
	if version.Patch == 0 {
		return false
	}
	lane, known := lanes[e.Name]
	if !known {
		lane = s.lane(e)
		lanes[e.Name] = lane
	}
	return version == lane
}

// authorsOf are the e-mail addresses of who wrote what a snapshot was made of:
// the source commit, as the snapshot's own commit names it, or the hotfixes that
// were composed. What is no snapshot has none.
func (e *Engine) authorsOf(ctx context.Context, id gitrepo.Hash) ([]string, error) {
	commit, err := gitrepo.ReadCommit(e.Repo, id)
	if err != nil {
		return nil, nil //nolint:nilerr // a tag may name anything, and counts only for a snapshot
	}
	authors := []string{snapshot.SourceAuthor(commit)}
	if len(commit.Parents) == 0 {
		return authors, nil
	}
	// The author of a composition is Propagator.
	options := gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}
	if err := e.Repo.Fetch(ctx, commit.Parents[:1], options); err != nil {
		return nil, err
	}
	source, err := gitrepo.ReadCommit(e.Repo, commit.Parents[0])
	if err != nil || !snapshot.IsComposition(source.Message) {
		return authors, err
	}
	var heads []gitrepo.Hash
	for _, h := range snapshot.Mentioned(source.Message) {
		heads = append(heads, h.Head)
	}
	if err := e.Repo.Fetch(ctx, heads, options); err != nil {
		return nil, err
	}
	for _, head := range heads {
		written, err := gitrepo.ReadCommit(e.Repo, head)
		if err != nil {
			return nil, err
		}
		authors = append(authors, written.Author.Email)
	}
	return authors, nil
}

// ApprovalGate is the environment's gate of that kind; zero when it has none.
func (e Environment) ApprovalGate() config.ApprovalGate {
	for _, g := range e.Gates {
		if g.Approval != nil {
			return *g.Approval
		}
	}
	return config.ApprovalGate{}
}

// signersOf are the lists of those who may approve, by the environment whose gate
// names one.
type signersOf map[string]signerList

// signerList is a list, or why there is none.
type signerList struct {
	allowed *signer.Allowed
	err     error
}

// signers reads the lists on the source branch, which is where the gates are.
func (e *Engine) signers(s *State) signersOf {
	lists := signersOf{}
	read := map[string]signerList{}
	for _, environment := range s.Environments {
		for _, g := range environment.Gates {
			if g.Approval == nil || g.Approval.Signers == "" {
				continue
			}
			path := g.Approval.Signers
			list, known := read[path]
			if !known {
				list.allowed, list.err = e.readSigners(s.SourceTip, path)
				read[path] = list
			}
			lists[environment.Name] = list
		}
	}
	return lists
}

func (e *Engine) readSigners(tip gitrepo.Hash, path string) (*signer.Allowed, error) {
	text, err := e.readSourceFile(tip, path)
	if err != nil {
		return nil, fmt.Errorf("the list of signers %w", err)
	}
	allowed, err := signer.ParseAllowed(text)
	if err != nil {
		return nil, fmt.Errorf("the list of signers %s cannot be used: %w", path, err)
	}
	return allowed, nil
}

// readSourceFile reads a file of the source branch.
func (e *Engine) readSourceFile(tip gitrepo.Hash, path string) ([]byte, error) {
	commit, err := gitrepo.ReadCommit(e.Repo, tip)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	text, err := fs.ReadFile(gitrepo.TreeFS(e.Repo, commit.Tree), path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return text, nil
}

// verify returns the key that signed an approval, of those that are allowed for
// the tagger, or why there is none. Where no list is asked for, nobody looks.
func (l signersOf) verify(objects gitrepo.Objects, id gitrepo.Hash, a Approval) (fingerprint, unsigned string) {
	list, wanted := l[a.Environment]
	if !wanted {
		return "", ""
	}
	if list.err != nil {
		return "", list.err.Error()
	}
	object, err := objects.Object(id)
	if err != nil {
		return "", err.Error()
	}
	who, err := list.allowed.VerifyFor(object.Data, a.Tagger, a.When)
	if errors.Is(err, signer.ErrUnsigned) {
		return "", "it is not signed; set it with git tag -s"
	}
	if err != nil {
		return "", brief(err.Error())
	}
	return who.Fingerprint, ""
}
