package gate

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
	"os"
	"strings"
	"time"
)

// Bounds of a question to a server.
const (
	// DefaultTimeout and MaxTimeout are of one question, with its redirects and
	// the whole answer: others wait while it is asked.
	DefaultTimeout = 10 * time.Second
	MaxTimeout     = time.Minute

	maxBody      = 1 << 20
	maxHeader    = 64 << 10
	maxTokenFile = 16 << 10
	maxRedirects = 5
)

// client asks servers for the gates http and prometheus.
//
// It asks them directly: a proxy that the environment happens to name would hear
// the token and could answer in the server's place. Redirects are followed within
// one server only. Certificates are verified against the roots of the system.
type client struct {
	http      *http.Client
	timeout   time.Duration
	tokenFile string
}

func newClient(timeout time.Duration, tokenFile string) (*client, error) {
	switch {
	case timeout == 0:
		timeout = DefaultTimeout
	case timeout < 0 || timeout > MaxTimeout:
		return nil, fmt.Errorf("timeout is %s, must be longer than nothing and at most %s", timeout, MaxTimeout)
	}
	return &client{
		http: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
				MaxResponseHeaderBytes: maxHeader,
				// Minutes pass between two questions, and a gate may be gone by
				// then: nobody would close its connections.
				DisableKeepAlives:  true,
				DisableCompression: true,
			},
			CheckRedirect: checkRedirect,
		},
		timeout:   timeout,
		tokenFile: tokenFile,
	}, nil
}

// checkRedirect stays on the server that was asked. The one exception is the
// step from http to https on the usual ports.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	upgrade := from.URL.Scheme == "http" && req.URL.Scheme == "https" && from.URL.Port() == "" && req.URL.Port() == ""
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case from.URL.Scheme != req.URL.Scheme && !upgrade:
		return fmt.Errorf("redirect from %s to %s refused", from.URL.Scheme, req.URL.Scheme)
	case hostAndPort(from.URL) != hostAndPort(req.URL) && !(upgrade && strings.EqualFold(from.URL.Hostname(), req.URL.Hostname())):
		return fmt.Errorf("redirect to another server, %s, refused", req.URL.Host)
	case from.Method != req.Method:
		return fmt.Errorf("redirect that makes a %s of the %s refused", req.Method, from.Method)
	}
	return nil
}

func hostAndPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// answer is what a server said, whole.
type answer struct {
	host   string
	status int
	// isJSON: its header says so.
	isJSON bool
	body   []byte
	// token is what was sent, so that an answer that repeats it can be told.
	token string
}

// ask sends a question, with a JSON body if there is one. Its errors are fit for
// a Detail: one line, without the token and without the URL, which can hold
// another secret.
func (c *client) ask(ctx context.Context, method, target string, body []byte) (*answer, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	asked, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	a, err := c.send(asked, method, target, body, token)
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return nil, errors.New("broken off")
	case asked.Err() != nil:
		return nil, fmt.Errorf("%s did not answer within %s", hostOf(target), c.timeout)
	}
	return nil, errors.New(hostOf(target) + ": " + repeat(withoutURL(err).Error(), token))
}

func (c *client) send(ctx context.Context, method, target string, body []byte, token string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "propagator")
	req.Header.Set("Accept", "application/json, */*;q=0.1")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %w", err)
	case len(text) > maxBody:
		return nil, fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return &answer{
		host: hostOf(target), status: resp.StatusCode, body: text, token: token,
		isJSON: kind == "application/json" || strings.HasSuffix(kind, "+json"),
	}, nil
}

// token reads the token of this moment. Errors never repeat what the file holds.
func (c *client) token() (string, error) {
	if c.tokenFile == "" {
		return "", nil
	}
	file, err := os.Open(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	token := strings.TrimSpace(string(text))
	// Quotes and backslashes would be written differently where they are repeated.
	usable := func(r rune) bool { return r > ' ' && r < 0x7f && r != '"' && r != '\\' }
	switch {
	case err != nil:
		return "", fmt.Errorf("token file: %w", err)
	case len(text) > maxTokenFile:
		return "", fmt.Errorf("token file %s is larger than %d bytes", c.tokenFile, maxTokenFile)
	case token == "":
		return "", fmt.Errorf("token file %s is empty", c.tokenFile)
	case strings.ContainsFunc(token, func(r rune) bool { return !usable(r) }):
		return "", fmt.Errorf("token file %s holds more than one token, or characters that no token has", c.tokenFile)
	}
	return token, nil
}

// withoutURL takes away what the HTTP client puts around an error.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

func hostOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Host
}

// repeat makes what a server wrote fit for a Detail. A server that repeats the
// token does not get it into the ledger, not even with something invisible in the
// middle.
func repeat(text, token string) string {
	text = flatten(text)
	if token != "" {
		text = strings.ReplaceAll(text, token, "REDACTED")
	}
	return cut(text)
}

// repeat is for text out of the answer.
func (a *answer) repeat(text string) string { return repeat(text, a.token) }

// String is the answer in short, for a person.
func (a *answer) String() string {
	text := strings.TrimSpace(fmt.Sprintf("%s answered %d %s", a.host, a.status, http.StatusText(a.status)))
	if body := a.repeat(string(a.body)); body != "" {
		text += ": " + body
	}
	return text
}

// decodeJSON decodes one document. Numbers stay as they were written.
func decodeJSON(body []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not JSON: something follows the document")
	}
	return document, nil
}

// parseServer reads the address of a server, which must name nothing but where to
// ask.
func parseServer(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		// The parser's own error would repeat a password.
		return nil, fmt.Errorf("%s is not an address such as https://check.example", field)
	case u.User != nil:
		return nil, fmt.Errorf("%s has a user or password in it; put a token into a file", field)
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, fmt.Errorf("%s has a fragment (#), which no server is sent", field)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, fmt.Errorf("%s has spaces or other characters in it that have to be percent-encoded", field)
	}
	return u, nil
}
