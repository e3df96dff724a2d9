package codehost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fleeting-taas/propagator/pkg/promotion"
)

// Bounds of a question to a server.
const (
	// timeout is of one question with its whole answer.
	timeout = 10 * time.Second
	// maxBody: a page of 100 requests with long texts.
	maxBody = 16 << 20
	// maxText bounds, in characters, what of an answer is repeated in an error.
	maxText      = 200
	maxRedirects = 3
	// maxAfter bounds how long a server can make itself be left alone.
	maxAfter = 6 * time.Hour
)

// answer is what a server said, whole.
type answer struct {
	url    *url.URL
	header http.Header
	body   []byte
}

// decode reads JSON.
func (a *answer) decode(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("not the JSON that was expected: %w", err)
	}
	return nil
}

// checkRedirect follows a repository that was renamed, on the server that was
// asked, and nothing else: the token goes along.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case r.URL.Scheme != first.URL.Scheme || r.URL.Host != first.URL.Host:
		return errors.New("redirect to another server refused")
	case r.Method != first.Method:
		return fmt.Errorf("redirect that makes a %s of the %s refused", r.Method, first.Method)
	}
	return nil
}

// target is the URL of a path below the API, or of a page that the server itself
// has named, which must be on the same server.
func (c *Client) target(path string) (*url.URL, error) {
	if !strings.Contains(path, "://") {
		return url.Parse(c.place.api.String() + path)
	}
	u, err := url.Parse(path)
	if err != nil || u.Scheme != c.place.api.Scheme || u.Host != c.place.api.Host {
		return nil, errors.New("its next page is on another server")
	}
	return u, nil
}

// ask sends one question. Every error of it is a *promotion.HostError.
func (c *Client) ask(ctx context.Context, doing, method, path string, body any) (*answer, error) {
	token, err := c.token.read()
	if err != nil {
		return nil, &promotion.HostError{Err: fmt.Errorf("%s: %s: %w", c.place.host(), doing, err), Fix: c.fixToken()}
	}
	asked, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, status, err := c.send(asked, method, path, body, token)
	if err != nil {
		text := "broken off"
		switch {
		case ctx.Err() != nil:
		case asked.Err() != nil:
			text = fmt.Sprintf("no answer within %s", timeout)
		default:
			text = clean(withoutURL(err).Error(), token)
		}
		return nil, &promotion.HostError{Err: fmt.Errorf("%s: %s: %s", c.place.host(), doing, text)}
	}
	if status/100 == 2 {
		return a, nil
	}
	return nil, c.refused(a, doing, status, token)
}

func (c *Client) send(ctx context.Context, method, path string, body any, token string) (*answer, int, error) {
	target, err := c.target(path)
	if err != nil {
		return nil, 0, err
	}
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return nil, 0, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), &sent)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("User-Agent", "propagator")
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	c.kind.authorize(request, token)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("the answer broke off: %w", err)
	case len(text) > maxBody:
		return nil, 0, fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	}
	return &answer{target, response.Header, text}, response.StatusCode, nil
}

// refused says what an answer other than success means.
func (c *Client) refused(a *answer, doing string, status int, token string) *promotion.HostError {
	text := fmt.Sprintf("%s: %s: %d %s", c.place.host(), doing, status, http.StatusText(status))
	if kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err == nil && strings.HasSuffix(kind, "json") {
		if said := clean(string(a.body), token); said != "" {
			text += ": " + said
		}
	}
	e := &promotion.HostError{Err: errors.New(text), After: after(a.header)}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusForbidden && e.After > 0:
		// A limit; only time helps.
	case status == http.StatusUnauthorized:
		e.Fix = c.fixToken()
	case status == http.StatusForbidden:
		e.Fix = "give the token the right to it: " + c.kind.rights()
	case status == http.StatusNotFound:
		e.Fix = fmt.Sprintf("the token must be allowed to see %s/%s (%s); if that is not the repository there, or %s not its API, correct source.host in propagator.yaml", c.place.owner, c.place.name, c.kind.rights(), c.place.api)
	case status/100 == 4:
		e.Refused = true
	}
	return e
}

func (c *Client) malformed(a *answer, err error) *promotion.HostError {
	token, _ := c.token.read() // it was read a moment ago
	return &promotion.HostError{
		Err: fmt.Errorf("%s: %s: %s", c.place.host(), a.url.Path, clean(err.Error(), token)),
		Fix: fmt.Sprintf("is %s a server of the kind %s? Correct source.host in propagator.yaml", c.place.host(), c.place.kind),
	}
}

func (c *Client) fixToken() string {
	return c.token.fix(c.place) + "; least rights: " + c.kind.rights()
}

// after is how long a server wants to be left alone. GitHub says by which second
// its limit begins anew, others how long that is.
func after(h http.Header) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds > 0 {
		wait = time.Duration(min(seconds, int(maxAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		wait = time.Until(at)
	} else if h.Get("X-Ratelimit-Remaining") == "0" {
		if at, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			wait = time.Until(time.Unix(at, 0))
		}
	}
	return min(max(wait, 0), maxAfter)
}

// withoutURL takes away what the HTTP client puts around an error.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// clean makes what a server wrote fit for an error: one line, short, and without
// the token, also if the server repeats it.
func clean(text, token string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.Join(strings.Fields(text), " ")
	for _, secret := range secrets(token) {
		text = strings.ReplaceAll(text, secret, "REDACTED")
	}
	if letters := []rune(text); len(letters) > maxText {
		text = string(letters[:maxText-1]) + "…"
	}
	return text
}
