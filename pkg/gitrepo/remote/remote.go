// Package remote reaches real Git repositories over http(s), ssh and file URLs
// and implements [gitrepo.Repo] on git's wire protocol: version 0, which every
// server speaks, and over http the list of refs by version 2 where the server can.
// Parsing and packing is go-git's; there is no clone and no worktree, and no git
// executable except for file URLs.
//
// Cost, in requests to an http server: Refs 1, Fetch 2 the first time and then 1
// (none if everything is there already), Push 2 (1 if a ref was found moved), and 1
// soon after another request. Only a server that gives out nothing but the tips of refs makes Fetch of
// another commit take more, and one that knows version 0 only the first Refs.
//
// Everything fetched stays in memory for the life of the [Repo], as the port
// promises. A long-running process opens a Repo for a round of work and lets it
// go. Errors name the repository and never contain a credential.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// Options configures [Open]. The zero value reaches a public repository.
type Options struct {
	Auth Auth
	// HTTPClient replaces the client for http(s); redirects stay under the
	// control of this package. Excludes CABundle and InsecureSkipTLS.
	HTTPClient *http.Client
	// CABundle has PEM certificates that are trusted beside the system's.
	CABundle []byte
	// InsecureSkipTLS accepts any certificate; for tests and labs only.
	InsecureSkipTLS bool
	// Timeout bounds one call of Refs, Fetch or Push; default 2 minutes.
	Timeout time.Duration
	// MaxFetch bounds what one request of a Fetch may bring, in bytes, packed
	// and unpacked alike; default 1 GiB.
	MaxFetch int64
	// Logger receives one debug record a round trip; nil discards.
	Logger *slog.Logger
	// OnRoundTrip is called after each http request, possibly concurrently.
	OnRoundTrip func(RoundTrip)
}

// Auth has the credentials. Userinfo in the URL is used for what is empty here.
type Auth struct {
	// Username and Password are for http(s) basic authentication, where the
	// password may be an access token (servers that look at the token only
	// accept any user name), and for ssh, whose user is "git" by default.
	Username, Password string
	// PasswordFile has the password, blanks and line ends around it left out. It
	// is read for each request (http) or connection (ssh), so that a rotated
	// password counts from then on. Excludes Password.
	PasswordFile string
	// BearerToken is sent as "Authorization: Bearer". Excludes both.
	BearerToken string
	// SSHKeyFile is a private key in PEM form, SSHKeyPassphrase opens it.
	SSHKeyFile, SSHKeyPassphrase string
	// SSHAgentSocket is the agent's socket (the value of SSH_AUTH_SOCK), asked
	// when there is no key file.
	SSHAgentSocket string
	// KnownHostsFile has the host keys that are accepted; default
	// ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts. There is no way to skip
	// the check.
	KnownHostsFile string
}

// String hides the secrets.
func (a Auth) String() string { return "credentials REDACTED" }

// GoString hides the secrets from %#v.
func (a Auth) GoString() string { return a.String() }

// LogValue hides the secrets from slog.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// RoundTrip describes one http request and its answer.
type RoundTrip struct {
	// Kind is "upload-pack refs", "upload-pack", "receive-pack refs" or
	// "receive-pack".
	Kind string
	// BytesSent and BytesReceived count the bodies.
	BytesSent, BytesReceived int64
}

const (
	defaultTimeout  = 2 * time.Minute
	defaultMaxFetch = 1 << 30
	// minToken is the length from which a user name may be a token.
	minToken = 16
)

// Repo is a repository behind a URL. It holds no connection between calls.
type Repo struct {
	url      string
	dial     dialer
	secrets  *credentials
	timeout  time.Duration
	maxFetch int64
	log      *slog.Logger
	store    *gitrepo.Store
	// fetching lets one Fetch at a time through, so that two callers who want
	// the same commit download it once.
	fetching chan struct{}
}

var _ gitrepo.Repo = (*Repo)(nil)

// Open prepares access to the repository at an http, https, ssh (also
// git@host:path) or file URL, or at a plain path. It makes no connection.
func Open(rawURL string, options Options) (*Repo, error) {
	r := &Repo{
		timeout: options.Timeout, maxFetch: options.MaxFetch, log: options.Logger,
		store: gitrepo.NewStore(), fetching: make(chan struct{}, 1),
	}
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	if r.maxFetch <= 0 {
		r.maxFetch = defaultMaxFetch
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	given := 0
	for _, secret := range []string{options.Auth.Password, options.Auth.PasswordFile, options.Auth.BearerToken} {
		if secret != "" {
			given++
		}
	}
	if given > 1 {
		return nil, errors.New("git credentials: give one of password, password file and bearer token")
	}
	if err := r.connect(rawURL, options); err != nil {
		return nil, err
	}
	return r, nil
}

// connect chooses the dialer. Errors do not repeat the URL as it was given,
// since it may carry credentials in a place where no parser finds them.
func (r *Repo) connect(rawURL string, options Options) error {
	auth := options.Auth
	scheme, _, _ := strings.Cut(rawURL, "://")
	if scheme = strings.ToLower(scheme); scheme == "http" || scheme == "https" {
		u, err := url.Parse(rawURL)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("git repository URL is malformed: want https://host/path without query")
		}
		if password, ok := u.User.Password(); auth.BearerToken == "" && auth.Password == "" && auth.PasswordFile == "" && (ok || u.User != nil) {
			auth.Password = password
			if auth.Username == "" {
				auth.Username = u.User.Username()
			}
		}
		u.User = nil
		u.Scheme = scheme
		r.url = u.String()
		client, err := httpClient(options)
		if err != nil {
			return fmt.Errorf("git repository %s: %w", r.url, err)
		}
		r.secrets = newCredentials(auth)
		r.dial = &httpDialer{base: strings.TrimSuffix(r.url, "/"), client: client, secrets: r.secrets, onRoundTrip: options.OnRoundTrip, log: r.log, now: time.Now}
		return nil
	}
	endpoint, err := transport.NewEndpoint(rawURL)
	if err != nil || rawURL == "" {
		return errors.New("git repository URL is malformed: want https://, ssh://, git@host:path, file:// or a path")
	}
	switch endpoint.Protocol {
	case "ssh":
		if auth.Username == "" {
			auth.Username = endpoint.User
		}
		if auth.Username == "" {
			auth.Username = "git"
		}
		if auth.Password == "" && auth.PasswordFile == "" {
			auth.Password = endpoint.Password
		}
		endpoint.User, endpoint.Password = auth.Username, ""
		r.url = endpoint.String()
		r.secrets = newCredentials(auth)
		r.dial = &sshDialer{endpoint: endpoint, user: auth.Username, secrets: r.secrets}
	case "file":
		path, err := filepath.Abs(filepath.FromSlash(endpoint.Path))
		if err != nil {
			return fmt.Errorf("git repository %s: %w", endpoint.Path, err)
		}
		r.secrets = newCredentials(auth)
		r.url = "file://" + filepath.ToSlash(path)
		r.dial = &fileDialer{path: path, environment: os.Environ()}
	default:
		return fmt.Errorf("git repository URL: scheme %q is not supported; use https, ssh or file", endpoint.Protocol)
	}
	return nil
}

// URL implements [gitrepo.Reader].
func (r *Repo) URL() string { return r.url }

// Object implements [gitrepo.Reader].
func (r *Repo) Object(id gitrepo.Hash) (gitrepo.Object, error) {
	o, err := r.store.Object(id)
	if err != nil {
		return o, fmt.Errorf("git repository %s: %w", r.url, err)
	}
	return o, nil
}

// Refs implements [gitrepo.Reader].
func (r *Repo) Refs(ctx context.Context, prefixes ...string) (gitrepo.Refs, error) {
	return do(ctx, r, func(ctx context.Context) (gitrepo.Refs, error) { return r.dial.list(ctx, prefixes) })
}

// refsOf leaves out HEAD, which is no ref of its own, and the ".have" lines
// with which receive-pack tells about objects of other repositories.
func refsOf(adv *packp.AdvRefs) gitrepo.Refs {
	refs := make(gitrepo.Refs, len(adv.References))
	for name, id := range adv.References {
		if strings.HasPrefix(name, "refs/") {
			refs[name] = gitrepo.Hash(id.String())
		}
	}
	return refs
}

func hashes(ids []gitrepo.Hash) []plumbing.Hash {
	out := make([]plumbing.Hash, len(ids))
	for i, id := range ids {
		out[i] = plumbing.NewHash(string(id))
	}
	return out
}
