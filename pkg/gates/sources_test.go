package gates_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/gates"
	"github.com/fleeting-taas/propagator/pkg/kube/kubetest"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/registry"
	"github.com/fleeting-taas/propagator/pkg/registry/imagebuild"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/registry/remote"
	"github.com/fleeting-taas/propagator/pkg/sigstore/sigstoretest"
)

// sources are files of the source branch, and a registry.
type sources struct {
	files map[string]string
	at    registry.Registry
}

var _ promotion.Sources = sources{}

func (s sources) File(path string) ([]byte, error) {
	text, ok := s.files[path]
	if !ok {
		return nil, fmt.Errorf("%s cannot be read: %w", path, fs.ErrNotExist)
	}
	return []byte(text), nil
}

func (s sources) Registry() (registry.Reader, error) { return s.at, nil }

// TestSignatures: keys and identities of the source branch, images and
// signatures of a registry over HTTP, with and without the referrers API.
func TestSignatures(t *testing.T) {
	day := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	ours, theirs := sigstoretest.NewKey(t, sigstoretest.P256), sigstoretest.NewKey(t, sigstoretest.RSA)
	authority := sigstoretest.NewAuthority(t, day.AddDate(-1, 0, 0))
	workflow := authority.Signer(sigstoretest.Issued{Issuer: "https://ci.example", Subject: "https://git.example/shop/orders", At: day})
	files := map[string]string{"keys/cosign.pub": ours.Public(), "keys/all.pub": theirs.Public() + ours.Public(), "keys/root.json": authority.TrustedRoot(), "keys/README": "text"}
	const keyless = `signatures: {roots: keys/root.json, identities: [{issuer: "https://ci.example", subject: "https://git.example/shop/*"}]}`
	for _, api := range []bool{true, false} {
		server := registrytest.NewServer(t, registrytest.Options{Referrers: api, Subject: api})
		at, err := remote.New(remote.Config{Name: "stage.example/shop", Endpoint: server.URL + "/shop", Writable: true, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		image := func(repo string) (gate.Subject, registry.Descriptor) {
			built := registrytest.MustImage(t, imagebuild.Spec{Files: imagebuild.Files{"repo": repo}})
			registrytest.MustPush(t, at, repo, built)
			s := subject()
			s.Images = []gate.Image{{Requested: "dev.example/shop/" + repo, Reference: "stage.example/shop/" + repo + "@" + built.Digest(), Digest: built.Digest(), Name: "dev.example/shop/" + repo, Own: true, Repo: repo}}
			return s, built.Manifest.Descriptor()
		}
		bare, _ := image("bare")
		bundled, d := image("bundled")
		sigstoretest.PushBundle(t, at, "bundled", d, ours.Bundle(d.Digest))
		tagged, d := image("tagged")
		sigstoretest.PushSimple(t, at, "tagged", d.Digest, sigstoretest.SimpleBy(ours, d.Digest))
		issued, d := image("issued")
		sigstoretest.PushBundle(t, at, "issued", d, workflow.Bundle(d.Digest))
		for _, test := range []struct {
			name, gate string
			about      gate.Subject
			want       gate.Result
			detail     string
		}{
			{"bundle", "signatures: {key: keys/cosign.pub}", bundled, gate.Pass, "1 image, signed by key SHA256:"},
			{"tag, one of two keys", "signatures: {key: keys/all.pub}", tagged, gate.Pass, "1 image, signed by key SHA256:"},
			{"identity", keyless, issued, gate.Pass, "1 image, signed by https://git.example/shop/orders"},
			{"not signed", "signatures: {key: keys/cosign.pub}", bare, gate.Wait, "not signed: cosign sign --key <private key> stage.example/shop/bare@sha256:"},
			{"not signed by an identity", keyless, bare, gate.Wait, "not signed: cosign sign stage.example/shop/bare@sha256:"},
			{"identity instead of a key", "signatures: {key: keys/cosign.pub}", issued, gate.Refuse, "stage.example/shop/issued@sha256:"},
			{"key instead of an identity", keyless, tagged, gate.Refuse, "stage.example/shop/tagged@sha256:"},
		} {
			t.Run(fmt.Sprintf("%s, referrers API %t", test.name, api), func(t *testing.T) {
				opened, err := (&gates.Set{}).Open(parsed(t, test.gate), sources{files, at})
				if err != nil {
					t.Fatal(err)
				}
				if got := opened.Judge(t.Context(), test.about); got.Result != test.want || !strings.HasPrefix(got.Detail, test.detail) {
					t.Errorf("%+v, want %s: %s", got, test.want, test.detail)
				}
			})
		}
		server.Deny(nil)
		server.Fail(registrytest.HTTPFault{Status: 503, Times: 1000})
		opened, err := (&gates.Set{}).Open(parsed(t, "signatures: {key: keys/cosign.pub}"), sources{files, at})
		if err != nil {
			t.Fatal(err)
		}
		if got := opened.Judge(t.Context(), bundled); got.Result != gate.Unknown {
			t.Errorf("a registry that is broken: %+v", got)
		}
	}
	for text, says := range map[string]string{
		"signatures: {key: keys/lost.pub}":                     "keys/lost.pub cannot be read",
		"signatures: {key: keys/README}":                       "keys/README on the source branch: has no public key in PEM",
		strings.Replace(keyless, "root.json", "cosign.pub", 1): "keys/cosign.pub on the source branch: it is not what it should be",
	} {
		if _, err := (&gates.Set{}).Open(parsed(t, text), sources{files: files}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

// TestJob: through an API server.
func TestJob(t *testing.T) {
	server := kubetest.New(t, `
apiVersion: batch/v1
kind: Job
metadata: {namespace: tests, name: smoke-shop-v0.1.0, labels: {suite: smoke, propagator.dev/snapshot: shop-v0.1.0}}
status: {conditions: [{type: FailureTarget, status: "False"}, {type: Complete, status: "True", message: done}]}
---
apiVersion: batch/v1
kind: Job
metadata: {namespace: tests, name: load-shop-v0.1.0, annotations: {propagator.dev/snapshot: shop/v0.1.0}, labels: {suite: load}}
status: {conditions: [{type: Failed, status: "True", message: "Job has reached the specified backoff limit"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {namespace: tests, name: long-shop-v0.1.0, labels: {propagator.dev/snapshot: shop-v0.1.0}}
status: {active: 1, conditions: [{type: Complete, status: "False"}]}
`)
	set := &gates.Set{Kubeconfig: server.Kubeconfig()}
	judge := func(text string) gate.Verdict {
		t.Helper()
		opened, err := set.Open(parsed(t, text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return opened.Judge(t.Context(), subject())
	}
	for _, test := range []struct {
		gate   string
		want   gate.Result
		detail string
	}{
		{`job: {namespace: tests, name: "smoke-{version}"}`, gate.Pass, "smoke-shop-v0.1.0 in tests completed"},
		{`job: {namespace: tests, name: "load-{version}"}`, gate.Refuse, "load-shop-v0.1.0 in tests failed: Job has reached the specified backoff limit"},
		{`job: {namespace: tests, name: "long-{version}"}`, gate.Wait, "long-shop-v0.1.0 in tests has not completed yet"},
		{`job: {namespace: tests, name: "none-{version}"}`, gate.Wait, "there is no Job none-shop-v0.1.0 in tests"},
		{`job: {namespace: tests, selector: suite=smoke}`, gate.Pass, "smoke-shop-v0.1.0 in tests completed"},
		{`job: {namespace: tests, selector: "propagator.dev/snapshot={version}"}`, gate.Wait, "long-shop-v0.1.0 in tests has not completed yet"},
		{`job: {namespace: tests, selector: suite=none}`, gate.Wait, "there is no Job with suite=none in tests"},
		{`job: {namespace: tests, selector: "suite=="}`, gate.Wait, "there is no Job with suite== in tests"},
		{`job: {namespace: tests, selector: "a b c"}`, gate.Unknown, "kubernetes: /apis/batch/v1/namespaces/tests/jobs: unreachable"},
	} {
		if got := judge(test.gate); got.Result != test.want || !strings.HasPrefix(got.Detail, test.detail) {
			t.Errorf("%s: %+v, want %s: %s", test.gate, got, test.want, test.detail)
		}
	}
	const smoke = `job: {namespace: tests, name: "smoke-{version}"}`
	server.Forbid("/jobs")
	if got := judge(smoke); got.Result != gate.Unknown || !strings.Contains(got.Detail, "forbidden") {
		t.Errorf("forbidden: %+v", got)
	}
	server.Forbid()
	server.Break("/smoke-shop-v0.1.0")
	if got := judge(smoke); got.Result != gate.Unknown || !strings.Contains(got.Detail, "etcd does not answer") {
		t.Errorf("broken: %+v", got)
	}
	if _, err := (&gates.Set{}).Open(config.Gate{Job: &config.JobGate{Namespace: "tests", Name: "smoke"}}, nil); err == nil || !strings.Contains(err.Error(), "--gate-kubeconfig") {
		t.Errorf("without a cluster: %v", err)
	}
	if _, err := (&gates.Set{InCluster: true}).Open(config.Gate{Job: &config.JobGate{Namespace: "tests", Name: "smoke"}}, nil); err == nil || !strings.Contains(err.Error(), "this is no Pod") {
		t.Errorf("outside of a Pod: %v", err)
	}
}
