package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// service is one of the two programs that a git server offers.
type service string

const (
	uploadPack  service = "upload-pack"  // gives objects
	receivePack service = "receive-pack" // takes objects and moves refs
)

// maxAdvertisement bounds the list of refs: about half a million of them.
const maxAdvertisement = 64 << 20

// dialer starts sessions. A session begins with the server's list of refs.
type dialer interface {
	open(ctx context.Context, s service) (session, error)
	// again begins a session with a service that was open before, and of which it
	// is known what it can do, without its list of refs; nil when it is not known, or
	// when an upload-pack gives only what is in the list.
	again(s service) session
	// list returns the refs whose names begin with one of the prefixes, or all when
	// there are none.
	list(ctx context.Context, prefixes []string) (gitrepo.Refs, error)
	// stateless says that each exchange of a session stands alone, so there
	// can be several.
	stateless() bool
	// host is empty for files.
	host() string
}

// session is one conversation with a service.
type session interface {
	advertised() *packp.AdvRefs
	// exchange sends a request and returns the answer, to be closed before
	// anything else is done with the session.
	exchange(ctx context.Context, request []byte) (io.ReadCloser, error)
	close()
}

// readAdvertisement decodes the list of refs. An empty repository gives an
// empty list, with or without capabilities.
func readAdvertisement(r io.Reader) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(limit(r, maxAdvertisement))
	if errors.Is(err, packp.ErrEmptyAdvRefs) {
		return adv, nil
	}
	if err != nil {
		return nil, protocolError(err)
	}
	if format := adv.Capabilities.Get(capability.Capability("object-format")); len(format) > 0 && format[0] != "sha1" {
		return nil, fmt.Errorf("%w: the repository uses %s object ids; only sha1 is supported", errSetup, format[0])
	}
	return adv, nil
}

// limit fails, where io.LimitReader would pretend an early end.
func limit(r io.Reader, n int64) io.Reader { return &limited{r: r, left: n} }

type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// tail keeps the last of what a server says to people. It is safe for
// concurrent use, since stderr is copied while stdout is read.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if excess := len(t.text) - maxText; excess > 0 {
		t.text = t.text[excess:]
	}
	return len(p), nil
}

// String returns the lines as one, without the padding that git adds to wipe
// progress meters.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.FieldsFuncSeq(string(t.text), func(c rune) bool { return c == '\n' || c == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// program is a running upload-pack or receive-pack: a local process or an ssh
// channel.
type program struct {
	stdin  io.WriteCloser
	stdout io.Reader
	stderr *tail
	// wait returns when the program is over and all of stderr was copied.
	wait func() error
}

// streamSession speaks with a program.
type streamSession struct {
	program
	out  *bufio.Reader
	adv  *packp.AdvRefs
	done chan struct{} // closed when the request is written; nil before
}

// newStream reads the advertisement. The context of the dialer ends the program,
// so no read or write can outlast it.
func newStream(p program) (session, error) {
	s := &streamSession{program: p, out: bufio.NewReader(p.stdout)}
	adv, err := readAdvertisement(s.out)
	if err == nil {
		s.adv = adv
		return s, nil
	}
	_ = p.stdin.Close()
	_, _ = io.Copy(io.Discard, limit(s.out, maxAdvertisement))
	_ = p.wait()
	if said := p.stderr.String(); said != "" {
		return nil, spokenError(said)
	}
	return nil, err
}

func (s *streamSession) advertised() *packp.AdvRefs { return s.adv }

// exchange writes beside reading: the server may answer before it has read
// everything, and two full pipes would wait for each other.
func (s *streamSession) exchange(_ context.Context, request []byte) (io.ReadCloser, error) {
	if s.done != nil {
		return nil, errors.New("the session is used up")
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		// An error here means that the program ended; its answer says why.
		_, _ = s.stdin.Write(request)
		_ = s.stdin.Close()
	}()
	return io.NopCloser(s.out), nil
}

func (s *streamSession) close() {
	if s.done == nil {
		// A flush instead of a request tells the program to end in peace.
		_, _ = io.WriteString(s.stdin, "0000")
		_ = s.stdin.Close()
	}
	_, _ = io.Copy(io.Discard, s.out)
	_ = s.wait()
	if s.done != nil {
		<-s.done
	}
}
