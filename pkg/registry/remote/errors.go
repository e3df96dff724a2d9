package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/fleeting-taas/propagator/pkg/registry"
)

// statusError turns a refused response into an error and closes it.
func statusError(resp *http.Response) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err != nil {
		body = nil // the status says enough
	}
	var answer transport.Error
	if json.Unmarshal(body, &answer) != nil {
		answer.Errors = nil
	}
	cause := fromStatus(resp.StatusCode, answer.Errors)
	if retryable(resp.StatusCode) {
		return &errRetry{error: cause, after: retryAfter(resp)}
	}
	return cause
}

// retryable are the statuses that pass by themselves. 501 does not.
func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// fromStatus is the one map from answers of a registry to our errors.
func fromStatus(status int, answers []transport.Diagnostic) error {
	detail := fmt.Sprintf("the registry answered %d", status)
	if said := describe(answers); said != "" {
		detail += " " + said
	}
	has := func(codes ...transport.ErrorCode) bool {
		for _, a := range answers {
			for _, code := range codes {
				if a.Code == code {
					return true
				}
			}
		}
		return false
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden ||
		status < 500 && has(transport.UnauthorizedErrorCode, transport.DeniedErrorCode):
		return fmt.Errorf("%w: %s", registry.ErrUnauthorized, detail)
	case retryable(status):
		return fmt.Errorf("%w: %s", registry.ErrUnreachable, detail)
	case status == http.StatusNotFound || has(transport.NameUnknownErrorCode, transport.ManifestUnknownErrorCode,
		transport.BlobUnknownErrorCode, transport.ManifestBlobUnknownErrorCode):
		return fmt.Errorf("%w: %s", registry.ErrNotFound, detail)
	case has(transport.DigestInvalidErrorCode):
		return fmt.Errorf("%w: %s", registry.ErrDigestMismatch, detail)
	}
	return errors.New(detail)
}

// describe prints what the registry said, shortened and on one line.
func describe(answers []transport.Diagnostic) string {
	var said []string
	for _, a := range answers {
		said = append(said, strings.TrimSuffix(string(a.Code)+": "+a.Message, ": "))
	}
	return printable(strings.Join(said, "; "))
}

// printable makes foreign text safe for a log line.
func printable(s string) string {
	const longest = 300
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return s
}

// classify judges an error of a request that got no usable answer.
func classify(ctx context.Context, err error) error {
	var content *contentError
	var answer *transport.Error
	var broken *url.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &content):
		return content.error
	case errors.As(err, &answer): // from the token server or the first question
		cause := fromStatus(answer.StatusCode, answer.Errors)
		if retryable(answer.StatusCode) {
			return &errRetry{error: cause}
		}
		return cause
	case errors.As(err, &broken):
		// Its text has the URL, which may be signed.
		cause := fmt.Errorf("%w: %s", registry.ErrUnreachable, printable(broken.Err.Error()))
		var certificate *tls.CertificateVerificationError
		if errors.As(broken.Err, &certificate) || errors.Is(broken.Err, errRedirect) {
			return cause // it will be the same next time
		}
		return &errRetry{error: cause}
	case errors.Is(err, errStalled), isNetwork(err):
		return &errRetry{error: fmt.Errorf("%w: %s", registry.ErrUnreachable, printable(err.Error()))}
	}
	return err
}

// classifyAccess is classify for a request that may have failed on its way in,
// at the first question or the token server: a registry that is not there is
// not one without the content.
func classifyAccess(ctx context.Context, err error) error {
	err = classify(ctx, err)
	if errors.Is(err, registry.ErrNotFound) {
		return fmt.Errorf("%w: there is no registry at this address", registry.ErrUnreachable)
	}
	return err
}

func isNetwork(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// contentError is a failure of the content that was to be sent, not of the
// registry it was sent to.
type contentError struct{ error }

func (e *contentError) Unwrap() error { return e.error }

func setBody(req *http.Request, body []byte) {
	if len(body) == 0 {
		req.Body = http.NoBody // a body of unknown length would be sent in chunks
		return
	}
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body = io.NopCloser(bytes.NewReader(body))
}
