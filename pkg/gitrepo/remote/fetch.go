package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

const (
	// unlimited is git's depth for "everything", which also undoes a shallow
	// boundary of ours.
	unlimited = 0x7fffffff
	// maxHaves bounds the commits offered as known; a missing offer only costs
	// bytes.
	maxHaves = 256
)

// searchDepths are tried, growing, to find a commit on a server that gives out
// tips only. 0 is the whole history.
var searchDepths = [...]int{50, 1000, 0}

// Fetch implements [gitrepo.Reader].
func (r *Repo) Fetch(ctx context.Context, ids []gitrepo.Hash, options gitrepo.FetchOptions) error {
	if len(r.lacking(ids, options)) == 0 {
		return nil
	}
	_, err := do(ctx, r, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.fetch(ctx, ids, options)
	})
	return err
}

func (r *Repo) lacking(ids []gitrepo.Hash, options gitrepo.FetchOptions) []gitrepo.Hash {
	var lacking []gitrepo.Hash
	for _, id := range ids {
		if !r.store.Covers(id, options) && !slices.Contains(lacking, id) {
			lacking = append(lacking, id)
		}
	}
	return lacking
}

func (r *Repo) fetch(ctx context.Context, ids []gitrepo.Hash, options gitrepo.FetchOptions) error {
	select {
	case r.fetching <- struct{}{}:
		defer func() { <-r.fetching }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	need := r.lacking(ids, options) // another Fetch may have brought them
	if len(need) == 0 {
		return nil
	}
	for _, id := range need {
		if !id.Valid() {
			return notFound(id)
		}
	}
	f := &fetcher{repo: r, options: options}
	defer f.close()
	return f.fetch(ctx, need)
}

func notFound(id gitrepo.Hash) error {
	return fmt.Errorf("object %s %w: the server does not have it or does not give it", id, gitrepo.ErrNotFound)
}

// fetcher is one Fetch that needs the server.
type fetcher struct {
	repo    *Repo
	options gitrepo.FetchOptions
	session session
	used    bool
	// blind says that the session began without the server's list of refs, and ask
	// that the server has refused that, so that the next one begins with the list.
	blind, ask bool
	// unfiltered is set when the server turned out to refuse filters.
	unfiltered bool
}

func (f *fetcher) close() {
	if f.session != nil {
		f.session.close()
		f.session = nil
	}
}

// connect opens a session, or keeps the one whose advertisement can be used
// again.
func (f *fetcher) connect(ctx context.Context) (*packp.AdvRefs, error) {
	if f.session != nil && f.used && !f.repo.dial.stateless() {
		f.close()
	}
	if f.session == nil && !f.ask {
		if s := f.repo.dial.again(uploadPack); s != nil {
			f.session, f.used, f.blind = s, false, true
		}
	}
	if f.session == nil {
		s, err := f.repo.dial.open(ctx, uploadPack)
		if err != nil {
			return nil, err
		}
		f.session, f.used, f.blind = s, false, false
		for _, id := range s.advertised().Shallows {
			f.repo.store.SetRoots([]gitrepo.Hash{gitrepo.Hash(id.String())})
		}
	}
	return f.session.advertised(), nil
}

func (f *fetcher) fetch(ctx context.Context, need []gitrepo.Hash) error {
	adv, err := f.connect(ctx)
	if err != nil {
		return err
	}
	wants, tips := tipsFor(adv, need)
	direct, final := directWants(adv, f.repo.dial.stateless())
	if !tips && !direct {
		return f.search(ctx, need)
	}
	err = f.request(ctx, wants, f.options)
	if f.blind && misunderstood(err) {
		f.close()
		f.ask = true
		return f.fetch(ctx, need)
	}
	var refused *pktline.ErrorLine
	if errors.As(err, &refused) && !tips && !final {
		return f.search(ctx, need)
	}
	if err != nil {
		return err
	}
	if lacking := f.repo.lacking(need, f.options); len(lacking) > 0 {
		return fmt.Errorf("%w: the server left out part of commit %s", gitrepo.ErrUnreachable, lacking[0].Short())
	}
	return nil
}

// tipsFor turns the ids into wants, and says if the server must accept all of
// them because it advertises them. A commit that only an annotated tag names
// is wanted through the tag.
func tipsFor(adv *packp.AdvRefs, need []gitrepo.Hash) (wants []gitrepo.Hash, tips bool) {
	direct := map[gitrepo.Hash]bool{}
	for _, id := range adv.References {
		direct[gitrepo.Hash(id.String())] = true
	}
	if adv.Head != nil {
		direct[gitrepo.Hash(adv.Head.String())] = true
	}
	through := map[gitrepo.Hash]gitrepo.Hash{}
	for name, id := range adv.Peeled {
		if tag, ok := adv.References[name]; ok {
			through[gitrepo.Hash(id.String())] = gitrepo.Hash(tag.String())
		}
	}
	tips = true
	for _, id := range need {
		switch tag, ok := through[id]; {
		case direct[id]:
		case ok:
			id = tag
		default:
			tips = false
		}
		wants = append(wants, id)
	}
	return wants, tips
}

// directWants says if commits that are no tips can be asked for, and if a
// refusal is the last word. git itself accepts every reachable commit over
// http even where it does not announce so, because refs may have moved between
// the two requests.
func directWants(adv *packp.AdvRefs, stateless bool) (direct, final bool) {
	if adv.Capabilities.Supports(capability.AllowReachableSHA1InWant) {
		return true, true
	}
	agent := strings.Join(adv.Capabilities.Get(capability.Agent), "")
	if stateless && strings.HasPrefix(agent, "git/") {
		return true, true
	}
	return adv.Capabilities.Supports(capability.AllowTipSHA1InWant), false
}

// search looks for commits that are no tips on a server that gives tips only:
// it fetches the branches, deeper each time, and the tags with them at last.
func (f *fetcher) search(ctx context.Context, need []gitrepo.Hash) error {
	for _, depth := range searchDepths {
		if depth != 0 && (f.options.Depth == 0 || depth < f.options.Depth) {
			continue
		}
		adv, err := f.connect(ctx)
		if err != nil {
			return err
		}
		prefixes := []string{gitrepo.Heads}
		if depth == 0 {
			prefixes = append(prefixes, gitrepo.Tags)
		}
		var wants []gitrepo.Hash
		for _, id := range refsOf(adv).Filter(prefixes...) {
			wants = append(wants, id)
		}
		slices.Sort(wants)
		if len(wants) == 0 {
			break
		}
		if err := f.request(ctx, slices.Compact(wants), gitrepo.FetchOptions{Depth: depth, CommitsOnly: f.options.CommitsOnly}); err != nil {
			return err
		}
		if need = f.repo.lacking(need, f.options); len(need) == 0 {
			return nil
		}
	}
	return notFound(need[0])
}

// request fetches what is missing of the wants and puts it into the store. If
// what came does not complete them, although the server sent all that it
// thinks we lack, it asks once more without offering anything we have. A
// server that announces filters and then refuses ours is asked without one.
func (f *fetcher) request(ctx context.Context, wants []gitrepo.Hash, options gitrepo.FetchOptions) error {
	wants = f.repo.lacking(wants, options)
	if len(wants) == 0 {
		return nil
	}
	haves, shallow := f.repo.store.Edge(options.CommitsOnly)
	err := f.exchange(ctx, wants, haves, shallow, options)
	var refused *pktline.ErrorLine
	if errors.As(err, &refused) && options.CommitsOnly && !f.unfiltered && strings.Contains(refused.Text, "filter") {
		f.unfiltered = true
		err = f.exchange(ctx, wants, haves, shallow, options)
	}
	if err != nil || len(haves) == 0 {
		return err
	}
	if wants = f.repo.lacking(wants, options); len(wants) == 0 {
		return nil
	}
	return f.exchange(ctx, wants, nil, nil, options)
}

func (f *fetcher) exchange(ctx context.Context, wants, haves, shallow []gitrepo.Hash, options gitrepo.FetchOptions) error {
	adv, err := f.connect(ctx)
	if err != nil {
		return err
	}
	req := uploadRequest(adv, options, len(shallow) > 0, f.repo.dial.host())
	if f.unfiltered {
		req.Filter = ""
	}
	req.Wants = hashes(wants)
	req.Shallows = hashes(shallow)
	req.Haves = hashes(haves[:min(len(haves), maxHaves)])
	var body bytes.Buffer
	if err := req.UploadRequest.Encode(&body); err != nil {
		return err
	}
	if err := req.UploadHaves.Encode(&body, false); err != nil {
		return err
	}
	body.WriteString("0009done\n")
	f.used = true
	answer, err := f.session.exchange(ctx, body.Bytes())
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	objects, err := readFetch(answer, req, f.repo)
	if err != nil {
		return err
	}
	f.repo.store.Put(objects...)
	return nil
}

// uploadRequest asks for the capabilities we can handle: no multi_ack, which is
// for a conversation about haves that we do not lead. Azure DevOps refuses
// clients without it, and as all is said in one request its answer is understood
// all the same.
func uploadRequest(adv *packp.AdvRefs, options gitrepo.FetchOptions, shallow bool, host string) *packp.UploadPackRequest {
	req := packp.NewUploadPackRequest()
	want := func(c capability.Capability, values ...string) {
		if adv.Capabilities.Supports(c) {
			_ = req.Capabilities.Set(c, values...) // fails only for values that a constant name does not take
		}
	}
	if adv.Capabilities.Supports(capability.Sideband64k) {
		want(capability.Sideband64k)
	} else {
		want(capability.Sideband)
	}
	want(capability.OFSDelta)
	if !options.CommitsOnly {
		// Where a depth is given, git takes what a "have" contains off the pack only
		// if that may be thin; otherwise it sends the whole tree of every new commit.
		// What we offer then, we have with all its files.
		want(capability.ThinPack)
	}
	want(capability.NoProgress)
	want(capability.Agent, capability.DefaultAgent())
	if host == "dev.azure.com" || host == "ssh.dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com") {
		_ = req.Capabilities.Set(capability.MultiACKDetailed)
	}
	if adv.Capabilities.Supports(capability.Shallow) {
		switch {
		case options.Depth > 0:
			req.Depth = packp.DepthCommits(options.Depth)
		case shallow:
			req.Depth = packp.DepthCommits(unlimited)
		}
	}
	if options.CommitsOnly && adv.Capabilities.Supports(capability.Filter) {
		_ = req.Capabilities.Set(capability.Filter)
		req.Filter = packp.FilterTreeDepth(0)
	}
	return req
}

// readFetch decodes the answer of upload-pack down to the objects.
func readFetch(answer io.ReadCloser, req *packp.UploadPackRequest, r *Repo) ([]gitrepo.Object, error) {
	response := packp.NewUploadPackResponse(req)
	if err := response.Decode(answer); err != nil {
		return nil, protocolError(err)
	}
	said := &tail{}
	var stream io.Reader = response
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		d := sideband.NewDemuxer(sideband.Sideband64k, response)
		d.Progress, stream = said, d
	case req.Capabilities.Supports(capability.Sideband):
		d := sideband.NewDemuxer(sideband.Sideband, response)
		d.Progress, stream = said, d
	}
	objects, err := unpack(stream, r.store, r.maxFetch)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("%w (%d bytes); raise the limit for this repository", errTooLarge, r.maxFetch)
	case err != nil && said.String() != "":
		return nil, fmt.Errorf("%w: %w: the server says %q", errMalformed, err, said)
	case err != nil:
		return nil, protocolError(err)
	}
	_, _ = io.Copy(io.Discard, limit(stream, maxAdvertisement)) // the flush behind the pack
	return objects, nil
}
