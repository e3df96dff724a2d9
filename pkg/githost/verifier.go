package githost

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// MaxBody is the largest body that is accepted: GitHub sends no larger ones.
const MaxBody = 25 << 20

// Errors of [Verifier.Receive]; their text is safe to log and to answer with.
var (
	// ErrUnknownHost: the request has no event of a host that is known.
	ErrUnknownHost = errors.New("the request has no event of GitHub, GitLab, Gitea, Forgejo or Bitbucket")
	// ErrRefused: the sender did not prove that it knows a secret.
	ErrRefused = errors.New("refused")
	// ErrSecrets: the secrets cannot be read now. The cause is for the log, not
	// for the sender.
	ErrSecrets = errors.New("webhook secrets unusable")
	// ErrTooLarge: the body, or the part of it that has to be kept.
	ErrTooLarge = errors.New("request body too large")
	// ErrLength: the request does not say how long its body is.
	ErrLength = errors.New("the request has no Content-Length")
	// ErrEncoding: the body is not plain JSON.
	ErrEncoding = errors.New("unsupported body")
	// ErrMalformed: the body broke off, or is not what the host documents.
	ErrMalformed = errors.New("malformed body")
)

// Delivery is a request that a git host made.
type Delivery struct {
	Host Host
	// Event is what the host calls it. It is not signed.
	Event string
	Kind  Kind
	// Repositories are the addresses of the repository that was pushed to, in
	// every spelling that the host names.
	Repositories []string
	// Path is PROJECT/repository, where a Bitbucket Server names no address.
	Path string
	// Refs are the full names of the refs that were created, moved or deleted.
	Refs []string

	// marks are what a [Memory] knows the delivery by.
	marks [][sha256.Size]byte
}

// Verifier receives the requests of git hosts that know a secret. It may be
// used by several goroutines.
type Verifier struct {
	secrets *Secrets
	now     func() time.Time
}

// NewVerifier makes one.
func NewVerifier(secrets *Secrets) *Verifier { return &Verifier{secrets: secrets, now: time.Now} }

// Receive reads a request to its end, verifies it and says what it reports. On
// an error, which is one of those above (wrapped), only the delivery's Host and
// Event are set, and they are not verified.
func (v *Verifier) Receive(r *http.Request) (Delivery, error) {
	host, event := identify(r.Header)
	d := Delivery{Host: host, Event: event}
	if host == "" {
		return d, ErrUnknownHost
	}
	if err := acceptable(r); err != nil {
		return d, err
	}
	k, err := v.secrets.load()
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrSecrets, err)
	}
	p, err := offered(host, r.Header, v.now())
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if p.token != "" && !k.has(p.token) { // no need to read the body
		return d, fmt.Errorf("%w: the header X-Gitlab-Token is not the secret", ErrRefused)
	}

	var kept sieve
	signatures, digest := newCheck(p, k), sha256.New()
	sinks := []io.Writer{signatures, digest}
	meaning := kind(host, event)
	if meaning == Push {
		sinks = append(sinks, &kept)
	}
	n, err := io.Copy(io.MultiWriter(sinks...), io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return d, fmt.Errorf("%w: read: %w", ErrMalformed, err)
	case n > MaxBody:
		return d, tooLarge()
	case !signatures.right():
		return d, fmt.Errorf("%w: the signature is wrong", ErrRefused)
	}
	if meaning == Push {
		pushed, err := kept.push(host, event)
		if err != nil {
			return d, err
		}
		d.Repositories, d.Path, d.Refs = pushed.repositories, pushed.path, pushed.refs
		if len(d.Refs) == 0 {
			meaning = Other
		}
	}
	d.Kind, d.marks = meaning, marks(host, r.Header, p, digest.Sum(nil))
	return d, nil
}

// push decodes what was kept.
func (s *sieve) push(host Host, event string) (push, error) {
	if errors.Is(s.err, ErrTooLarge) {
		return push{}, s.err
	}
	if s.err != nil {
		return push{}, fmt.Errorf("%w: %w", ErrMalformed, s.err)
	}
	p, err := decode(host, event, s.kept)
	if err != nil {
		return push{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, nil
}

// acceptable looks at the form of the body before it is read.
func acceptable(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return fmt.Errorf("%w: it is compressed (Content-Encoding); send it as it is", ErrEncoding)
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || media != "application/json" && media != "application/x-www-form-urlencoded":
		return fmt.Errorf("%w: its Content-Type is not application/json", ErrEncoding)
	case media != "application/json":
		// GitHub signs the form and Gitea what is in it; nobody needs either.
		return fmt.Errorf("%w: it is a form; set the content type of the webhook to application/json", ErrEncoding)
	case len(r.TransferEncoding) > 0 || r.ContentLength < 0:
		return fmt.Errorf("%w: no host sends its body in chunks; if a proxy makes them, let it buffer requests", ErrLength)
	case r.ContentLength > MaxBody:
		return tooLarge()
	}
	return nil
}

func tooLarge() error { return fmt.Errorf("%w: more than %d MiB", ErrTooLarge, MaxBody>>20) }
