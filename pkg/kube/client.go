package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// maxAnswer bounds one answer of the server, in bytes; a page of large
	// Applications has a few megabytes.
	maxAnswer = 64 << 20
	// pageSize bounds the objects in one answer.
	pageSize = 200
)

// Options say which API server to use, and as whom.
type Options struct {
	// Kubeconfig is a file, or several as in the variable KUBECONFIG. Empty
	// means Home/.kube/config if it exists, and otherwise the service account
	// of the Pod in which the program runs.
	Kubeconfig string
	// Home is the user's home directory.
	Home string
	// Context of the kubeconfig. Default: its current one.
	Context string
}

// Client reads one API server. It is safe for concurrent use.
type Client struct {
	config *rest.Config
	base   *url.URL
	http   *http.Client
}

// Connect prepares access to an API server. It makes no request.
func Connect(o Options) (*Client, error) {
	config, err := load(o)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "propagator"
	return New(config)
}

// New makes a client from what another part of the program has loaded.
func New(config *rest.Config) (*Client, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, errors.New("kubeconfig: the address of the API server is malformed")
	}
	base.User = nil
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client: %w", err)
	}
	return &Client{config: config, base: base, http: client}, nil
}

func load(o Options) (*rest.Config, error) {
	files := filepath.SplitList(o.Kubeconfig)
	if len(files) == 0 && o.Home != "" {
		file := filepath.Join(o.Home, ".kube", "config")
		if _, err := os.Stat(file); err == nil {
			files = []string{file}
		}
	}
	if len(files) == 0 {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no kubeconfig, and this is no Pod (%w)", err)
		}
		return config, nil
	}
	name := strings.Join(files, string(filepath.ListSeparator))
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: files}
	if len(files) == 1 {
		rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: files[0]} // a missing file is then an error
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		// The library advises to set a variable that need not be ours.
		return nil, fmt.Errorf("kubeconfig %s names no cluster", name)
	case err != nil:
		return nil, fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	return config, nil
}

// Server is the server's address, without credentials.
func (c *Client) Server() string { return strings.TrimSuffix(c.base.String(), "/") }

// Path is the path of an object, or of a list when name is empty. The group and
// version are as in apiVersion: "v1", "apps/v1". An empty namespace means all,
// or none for what has none.
func Path(apiVersion, namespace, resource, name string) string {
	parts := []string{"apis", apiVersion}
	if !strings.Contains(apiVersion, "/") {
		parts[0] = "api"
	}
	if namespace != "" {
		parts = append(parts, "namespaces", url.PathEscape(namespace))
	}
	parts = append(parts, resource)
	if name != "" {
		parts = append(parts, url.PathEscape(name))
	}
	return "/" + strings.Join(parts, "/")
}

// Get reads one object, or whatever else the server has at the path, into a
// pointer. The error is one of this package's (see [Error]).
func (c *Client) Get(ctx context.Context, path string, into any) error {
	body, _, err := c.read(ctx, path, nil)
	if err != nil {
		return err
	}
	return decode(path, body, into)
}

// List reads all objects at a path, page by page. selector chooses by labels;
// empty means all. An answer that breaks off is an error, never a shorter list.
func List[T any](ctx context.Context, c *Client, path, selector string) ([]T, error) {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	all := []T{}
	for {
		body, _, err := c.read(ctx, path, query)
		if err != nil {
			return nil, err
		}
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []T `json:"items"`
		}
		if err := decode(path, body, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Metadata.Continue == "" {
			return all, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

// Time asks for the server's clock. It is exact to a second, and to the time
// that the question took.
func (c *Client) Time(ctx context.Context) (Clock, error) {
	before := time.Now()
	_, header, err := c.read(ctx, "/version", nil)
	if err != nil {
		return Clock{}, err
	}
	return ReadClock(header, before, time.Now())
}

func (c *Client) read(ctx context.Context, path string, query url.Values) ([]byte, http.Header, error) {
	target := strings.TrimSuffix(c.base.String(), "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, &Error{Path: path, Err: ErrUnreachable, Said: "the address is malformed"}
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, &Error{Path: path, Err: ErrUnreachable, Said: cause(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, nil, &Error{Path: path, Err: ErrUnreachable, Said: cause(ctx, err)}
	case len(body) > maxAnswer:
		return nil, nil, &Error{Path: path, Err: ErrUnreachable, Said: "the answer is larger than " + strconv.Itoa(maxAnswer>>20) + " MiB"}
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fromStatus(path, resp.StatusCode, body)
	}
	return body, resp.Header, nil
}

func decode(path string, body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		// The library's text may quote values, and this may be a Secret.
		return &Error{Path: path, Err: ErrUnreachable, Said: "the answer is not what was asked for"}
	}
	return nil
}
