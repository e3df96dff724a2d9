package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Version 2 of git's protocol (gitprotocol-v2, "ls-refs") lists the refs below
// prefixes only. A git host has far more: one for each pull request, kept for ever.
// It begins with a request for the service's capabilities; this package asks at
// once, as a server of an older version answers that it does not understand, and
// is asked by version 0 for some minutes.

// delimiter separates the parts of a request.
const delimiter = "0001"

// plainLife is how long a server is taken for one of version 0. It may have been out
// of order for the request, or have cut the answer, and is in order again by then.
const plainLife = 10 * time.Minute

// list implements [dialer].
func (d *httpDialer) list(ctx context.Context, prefixes []string) (gitrepo.Refs, error) {
	base, plain := d.known()
	if plain {
		return listByAdvertisement(ctx, d, prefixes)
	}
	refs, err := d.lsRefs(ctx, base, prefixes)
	astray := base != d.base && !busy(err) // perhaps it is no longer there
	if err == nil || !astray && !misunderstood(err) && !gaveUp(err) {
		return refs, err
	}
	refs, err = listByAdvertisement(ctx, d, prefixes)
	if err != nil {
		return nil, err
	}
	// It may have moved, and answers at its new place.
	if moved, _ := d.known(); moved == base {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.plain = d.now().Add(plainLife)
	}
	return refs, nil
}

// listByAdvertisement is how every server of version 0 lists its refs, which is
// always all of them.
func listByAdvertisement(ctx context.Context, d dialer, prefixes []string) (gitrepo.Refs, error) {
	s, err := d.open(ctx, uploadPack)
	if err != nil {
		return nil, err
	}
	s.close()
	refs := refsOf(s.advertised())
	if len(prefixes) == 0 {
		return refs, nil
	}
	return refs.Filter(prefixes...), nil
}

// statusCode is an answer other than 200.
type statusCode struct {
	error
	code int
}

func (s *statusCode) Unwrap() error { return s.error }

// misunderstood reports whether an error may mean that the server does not know
// the request, and did nothing: it would be another one if the server were busy, or
// did not let us in.
func misunderstood(err error) bool {
	var status *statusCode
	if errors.As(err, &status) {
		refused := status.code == http.StatusUnauthorized || status.code == http.StatusForbidden
		return !refused && !busy(err) && (status.code < 500 || status.code == http.StatusNotImplemented)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return false // the connection was cut
	}
	var said *pktline.ErrorLine
	return errors.As(err, &said) || errors.Is(err, errMalformed)
}

// busy reports whether a server has too much to do, and wants to be asked later.
func busy(err error) bool {
	var status *statusCode
	if !errors.As(err, &status) {
		return false
	}
	switch status.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// gaveUp reports whether an error is what servers say where git gives up because it
// cannot read the request. It may mean that they are out of order.
func gaveUp(err error) bool {
	var status *statusCode
	return errors.As(err, &status) && (status.code == http.StatusInternalServerError || status.code == http.StatusBadGateway)
}

func (d *httpDialer) lsRefs(ctx context.Context, base string, prefixes []string) (gitrepo.Refs, error) {
	var body bytes.Buffer
	e := pktline.NewEncoder(&body)
	// A bytes.Buffer does not fail, and no prefix of ours is too long for a line.
	_ = e.EncodeString("command=ls-refs\n", "agent="+capability.DefaultAgent()+"\n")
	body.WriteString(delimiter)
	for _, prefix := range prefixes {
		_ = e.EncodeString("ref-prefix " + prefix + "\n")
	}
	_ = e.Flush()
	answer, err := d.post(ctx, base, uploadPack, body.Bytes(), "version=2", string(uploadPack)+" refs")
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Close() }()
	return readRefs(answer, prefixes)
}

// readRefs decodes an answer to ls-refs: lines of an id, a name, and attributes that
// were not asked for, up to a flush. A server may list more than it was asked for.
func readRefs(answer io.Reader, prefixes []string) (gitrepo.Refs, error) {
	if len(prefixes) == 0 {
		prefixes = []string{"refs/"} // HEAD is no ref of its own
	}
	refs := gitrepo.Refs{}
	lines := pktline.NewScanner(bufio.NewReader(limit(answer, maxAdvertisement)))
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			return refs, nil // flush
		}
		id, rest, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		name, _, _ := strings.Cut(rest, " ")
		switch {
		case id == "unborn":
			continue
		case !ok || !gitrepo.Hash(id).Valid():
			return nil, fmt.Errorf("%w: %q in the list of refs", errMalformed, shorten(string(line)))
		case slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }):
			refs[name] = gitrepo.Hash(id)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, protocolError(err)
	}
	return nil, fmt.Errorf("%w: the list of refs has no end", errMalformed)
}
