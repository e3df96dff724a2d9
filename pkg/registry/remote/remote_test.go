package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// clock records waits instead of waiting.
type clock struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (c *clock) wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	return ctx.Err()
}

type keychain authn.AuthConfig

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(k)), nil
}

var anonymous = keychain{}

const secret = "correct-horse"

// open connects to a server under a name that is not its address.
func open(t *testing.T, s *registrytest.Server, change ...func(*remote.Config)) *remote.Registry {
	t.Helper()
	config := remote.Config{
		Name: "stage.registry.example/shop", Endpoint: s.URL + "/stage",
		Keychain: anonymous, Wait: (&clock{}).wait, Transport: http.DefaultTransport,
	}
	for _, c := range change {
		c(&config)
	}
	r, err := remote.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func login(c *remote.Config) { c.Keychain = keychain{Username: "ci", Password: secret} }

func TestSuite(t *testing.T) {
	for name, options := range map[string]registrytest.Options{
		"fallback tag":     {},
		"referrers API":    {Referrers: true},
		"OCI-Subject":      {Referrers: true, Subject: true},
		"basic auth":       {Username: "ci", Password: secret},
		"tokens":           {Username: "ci", Password: secret, Tokens: true, Referrers: true},
		"no digest header": {NoDigestHeader: true},
		"tags in pages":    {PageSize: 2},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.Suite(t, func(t *testing.T) registry.Registry {
				return open(t, registrytest.NewServer(t, options), login)
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, config := range map[string]remote.Config{
		"no name":               {},
		"scheme":                {Name: "https://stage.example"},
		"credentials in name":   {Name: "ci:" + secret + "@stage.example"},
		"upper case prefix":     {Name: "stage.example/Shop"},
		"climbing prefix":       {Name: "stage.example/../x"},
		"endpoint no scheme":    {Name: "stage.example", Endpoint: "stage.example"},
		"endpoint other scheme": {Name: "stage.example", Endpoint: "file:///etc"},
		"endpoint credentials":  {Name: "stage.example", Endpoint: "https://ci:" + secret + "@stage.example"},
		"endpoint query":        {Name: "stage.example", Endpoint: "https://stage.example/?token=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := remote.New(config)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	image := registrytest.MustImage(t, imagebuild.Spec{})
	for name, test := range map[string]struct {
		fault registrytest.HTTPFault
		want  error
		waits int // at least
	}{
		"401":                 {registrytest.HTTPFault{Status: 401, Code: "UNAUTHORIZED"}, registry.ErrUnauthorized, 0},
		"403":                 {registrytest.HTTPFault{Status: 403, Code: "DENIED"}, registry.ErrUnauthorized, 0},
		"404":                 {registrytest.HTTPFault{Status: 404, Code: "MANIFEST_UNKNOWN"}, registry.ErrNotFound, 0},
		"404 of the name":     {registrytest.HTTPFault{Status: 404, Code: "NAME_UNKNOWN"}, registry.ErrNotFound, 0},
		"429":                 {registrytest.HTTPFault{Status: 429, Code: "TOOMANYREQUESTS"}, registry.ErrUnreachable, 3},
		"429 with a wish":     {registrytest.HTTPFault{Status: 429, RetryAfter: "7"}, registry.ErrUnreachable, 3},
		"503":                 {registrytest.HTTPFault{Status: 503}, registry.ErrUnreachable, 3},
		"500":                 {registrytest.HTTPFault{Status: 500}, registry.ErrUnreachable, 3},
		"reset":               {registrytest.HTTPFault{Reset: true}, registry.ErrUnreachable, 3},
		"break in the middle": {registrytest.HTTPFault{CutAfter: 10}, registry.ErrUnreachable, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.NewServer(t, registrytest.Options{})
			c := &clock{}
			r := open(t, s, login, func(config *remote.Config) { config.Wait, config.Retries = c.wait, 3 })
			registrytest.MustPush(t, r, "orders", image, "1.0")
			fault := test.fault
			fault.Path, fault.Times = "/manifests/", 1000
			s.Fail(fault)
			_, err := r.Manifest(t.Context(), "orders", image.Digest())
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			prefix := "registry stage.registry.example/shop: repository orders: manifest " + image.Digest() + ": " + test.want.Error()
			if !strings.HasPrefix(err.Error(), prefix) {
				t.Errorf("error %q does not start with %q", err, prefix)
			}
			for _, leak := range []string{secret, s.Host, "\n"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("error %q contains %q", err, leak)
				}
			}
			if len(c.waits) < test.waits || test.waits == 0 && len(c.waits) > 0 {
				t.Errorf("%d waits, want at least %d", len(c.waits), test.waits)
			}
			if test.fault.RetryAfter != "" && (c.waits[0] < 6*time.Second || c.waits[0] > 8*time.Second) {
				t.Errorf("waited %v, want about 7s", c.waits[0])
			}
		})
	}
}

func TestWrongCredentials(t *testing.T) {
	for name, options := range map[string]registrytest.Options{
		"basic":  {Username: "ci", Password: "other"},
		"tokens": {Username: "ci", Password: "other", Tokens: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, registrytest.NewServer(t, options), login)
			ctx := t.Context()
			_, resolveErr := r.Resolve(ctx, "orders", "1.0")
			_, hasErr := r.HasBlob(ctx, "orders", registry.Digest(nil))
			_, referrersErr := r.Referrers(ctx, "orders", registry.Digest(nil))
			_, tagsErr := r.Tags(ctx, "orders")
			putErr := imagebuild.Push(ctx, r, "orders", registrytest.MustImage(t, imagebuild.Spec{}))
			for method, err := range map[string]error{
				"Resolve": resolveErr, "HasBlob": hasErr, "Referrers": referrersErr, "Tags": tagsErr, "PutBlob": putErr,
			} {
				if !errors.Is(err, registry.ErrUnauthorized) {
					t.Errorf("%s: %v, want ErrUnauthorized", method, err)
				} else if strings.Contains(err.Error(), secret) {
					t.Errorf("%s shows the password: %v", method, err)
				}
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	s := registrytest.NewServer(t, registrytest.Options{})
	for name, endpoint := range map[string]string{"closed port": "http://127.0.0.1:1", "https to http": strings.Replace(s.URL, "http", "https", 1)} {
		t.Run(name, func(t *testing.T) {
			r := open(t, s, func(c *remote.Config) { c.Endpoint, c.Retries = endpoint, 1 })
			if _, err := r.Resolve(t.Context(), "orders", "1.0"); !errors.Is(err, registry.ErrUnreachable) {
				t.Errorf("error %v, want ErrUnreachable", err)
			}
		})
	}
	t.Run("no token server", func(t *testing.T) {
		s := registrytest.NewServer(t, registrytest.Options{Username: "ci", Password: secret, Tokens: true})
		r := open(t, s, login)
		registrytest.MustPush(t, r, "orders", registrytest.MustImage(t, imagebuild.Spec{}), "1.0")
		s.RevokeTokens()
		s.GoneTokens()
		if tags, err := r.Tags(t.Context(), "orders"); !errors.Is(err, registry.ErrUnreachable) {
			t.Errorf("Tags = %v, %v; want ErrUnreachable", tags, err)
		}
		if has, err := r.HasBlob(t.Context(), "orders", registry.Digest(nil)); !errors.Is(err, registry.ErrUnreachable) {
			t.Errorf("HasBlob = %v, %v; want ErrUnreachable", has, err)
		}
	})
	t.Run("no registry", func(t *testing.T) {
		s.Fail(registrytest.HTTPFault{Path: "/v2/", Status: 404, Times: 100})
		if tags, err := open(t, s).Tags(t.Context(), "orders"); !errors.Is(err, registry.ErrUnreachable) {
			t.Errorf("Tags = %v, %v; want ErrUnreachable", tags, err)
		}
	})
}

func TestTransientFaults(t *testing.T) {
	long := strings.Repeat("0123456789", 50_000)
	image := registrytest.MustImage(t, imagebuild.Spec{Layers: []imagebuild.Files{{"a": long}}})
	for name, fault := range map[string]registrytest.HTTPFault{
		"429 with a date": {Times: 3, Status: 429, RetryAfter: "Fri, 01 Jan 2100 00:00:00 GMT"},
		"503":             {Times: 3, Status: 503},
		"reset":           {Times: 3, Reset: true},
		"lost answers":    {Times: 3, LoseAnswer: true},
		"lost uploads":    {Method: http.MethodPut, Path: "/blobs/", Times: 2, LoseAnswer: true},
		"upload unknown":  {Method: http.MethodPut, Path: "/blobs/", Times: 2, Status: 404, Code: "BLOB_UPLOAD_UNKNOWN"},
		"reset uploads":   {Method: http.MethodPut, Path: "/blobs/", Times: 2, Reset: true},
		"cut downloads":   {Method: http.MethodGet, Path: "/blobs/", Times: 3, CutAfter: 100},
		"ping":            {Path: "/v2/", Times: 2, Status: 502},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.NewServer(t, registrytest.Options{})
			s.Fail(fault)
			c := &clock{}
			r := open(t, s, func(config *remote.Config) { config.Wait = c.wait })
			registrytest.MustPush(t, r, "orders", image, "1.0")
			for digest, want := range image.Blobs {
				rc, err := r.Blob(t.Context(), "orders", digest)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(rc)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
				}
				if err := rc.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := r.Manifest(t.Context(), "orders", image.Digest()); err != nil {
				t.Error(err)
			}
			for _, d := range c.waits {
				if d > 34*time.Second {
					t.Errorf("waited %v although a wait is bounded", d)
				}
			}
		})
	}
}

func TestCorruptBlob(t *testing.T) {
	s := registrytest.NewServer(t, registrytest.Options{})
	r := open(t, s)
	image := registrytest.MustImage(t, imagebuild.Spec{})
	registrytest.MustPush(t, r, "orders", image)
	for digest := range image.Blobs {
		s.Corrupt(digest)
		rc, err := r.Blob(t.Context(), "orders", digest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(rc); !errors.Is(err, registry.ErrDigestMismatch) {
			t.Errorf("error %v, want ErrDigestMismatch", err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A registry is asked once how it authenticates, and a token is fetched once
// per repository and kind of access.
func TestRequestsAreFew(t *testing.T) {
	s := registrytest.NewServer(t, registrytest.Options{Username: "ci", Password: secret, Tokens: true, Referrers: true, Subject: true})
	var mu sync.Mutex
	var seen []remote.Request
	r := open(t, s, login, func(c *remote.Config) {
		c.OnRequest = func(q remote.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, q)
		}
	})
	image := registrytest.MustImage(t, imagebuild.Spec{})
	registrytest.MustPush(t, r, "orders", image, "1.0")
	for range 3 {
		if _, err := r.Resolve(t.Context(), "orders", "1.0"); err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]int{}
	var sent int64
	for _, q := range seen {
		switch {
		case q.Path == "/v2/":
			count["ping"]++
		case q.Path == "/token":
			count["token"]++
		default:
			count[q.Method]++
		}
		sent += q.Sent
	}
	if diff := cmp.Diff(map[string]int{"ping": 1, "token": 2, "POST": 2, "PUT": 3, "HEAD": 3}, count); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	want := int64(len(image.Manifest.Raw))
	for _, b := range image.Blobs {
		want += int64(len(b))
	}
	if sent != want {
		t.Errorf("sent %d bytes, want %d", sent, want)
	}

	if has, err := open(t, s, login, func(c *remote.Config) { c.Writable = true }).HasBlob(t.Context(), "orders", firstBlob(image)); !has || err != nil {
		t.Errorf("HasBlob with the right to push = %v, %v; want true", has, err)
	}
	s.RevokeTokens()
	registrytest.MustPush(t, r, "orders", registrytest.MustImage(t, imagebuild.Spec{Files: imagebuild.Files{"b": "2"}}), "2.0")
	if mounted, err := r.MountBlob(t.Context(), "payments", "orders", firstBlob(image)); !mounted || err != nil {
		t.Errorf("mount = %v, %v; want true", mounted, err)
	}
}

func TestMounts(t *testing.T) {
	s := registrytest.NewServer(t, registrytest.Options{})
	stage, dev := open(t, s), open(t, s, func(c *remote.Config) { c.Name, c.Endpoint = "dev.registry.example/shop", s.URL+"/dev" })
	elsewhere := open(t, registrytest.NewServer(t, registrytest.Options{}))
	image := registrytest.MustImage(t, imagebuild.Spec{})
	registrytest.MustPush(t, dev, "orders", image)
	for digest := range image.Blobs {
		if mounted, err := stage.MountSource(t.Context(), "orders", dev, "orders", digest); !mounted || err != nil {
			t.Errorf("mount from the same host = %v, %v; want true", mounted, err)
		}
		if mounted, err := elsewhere.MountSource(t.Context(), "orders", dev, "orders", digest); mounted || err != nil {
			t.Errorf("mount from another host = %v, %v; want false", mounted, err)
		}
	}
	s.Deny(func(req *http.Request) bool { return req.URL.Query().Get("mount") != "" })
	if mounted, err := stage.MountBlob(t.Context(), "payments", "orders", registry.Digest(nil)); mounted || err != nil {
		t.Errorf("denied mount = %v, %v; want false", mounted, err)
	}
}

func TestStalledRegistry(t *testing.T) {
	r := open(t, registrytest.NewServer(t, registrytest.Options{}), func(c *remote.Config) {
		c.Retries, c.Stall = 1, time.Millisecond
		c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
	})
	if _, err := r.Resolve(t.Context(), "orders", "1.0"); !errors.Is(err, registry.ErrUnreachable) {
		t.Errorf("error %v, want ErrUnreachable", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A registry may send clients to its storage, but not to this machine's inside.
func TestRedirects(t *testing.T) {
	for location, ok := range map[string]bool{
		"https://storage.example/blob?signature=" + secret: true,
		"http://storage.example/blob?signature=" + secret:  false,
		"https://169.254.169.254/latest/meta-data":         false,
		"https://127.0.0.1:9000/blob":                      false,
		"https://localhost/blob":                           false,
		"file:///etc/passwd":                               false,
	} {
		t.Run(location, func(t *testing.T) {
			var authorization []string
			r, err := remote.New(remote.Config{
				Name: "stage.registry.example", Keychain: keychain{Username: "ci", Password: secret}, Retries: -1,
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					answer := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("hello")), ContentLength: 5, Request: req}
					switch {
					case req.URL.Path == "/v2/":
						answer.StatusCode = 401
						answer.Header.Set("WWW-Authenticate", `Basic realm="x"`)
					case req.URL.Host == "stage.registry.example":
						answer.StatusCode = 307
						answer.Header.Set("Location", location)
					default:
						authorization = append(authorization, req.Header.Get("Authorization"))
					}
					return answer, nil
				}),
			})
			if err != nil {
				t.Fatal(err)
			}
			rc, err := r.Blob(t.Context(), "orders", registry.Digest([]byte("hello")))
			if ok != (err == nil) {
				t.Fatalf("error %v, want success: %v", err, ok)
			}
			if err != nil {
				if strings.Contains(err.Error(), secret) || len(authorization) > 0 {
					t.Errorf("error %v, requests %v", err, authorization)
				}
				return
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{""}, authorization); diff != "" {
				t.Errorf("credentials went to the storage (-want +got):\n%s", diff)
			}
		})
	}
}

func firstBlob(b imagebuild.Built) string {
	parts, err := b.Manifest.Parse()
	if err != nil {
		panic(err)
	}
	return parts.Blobs[0].Digest
}
