package promotion

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNamedFaults: what a person reads when an Application is not as it should
// be: a name for it, and what Argo CD or the kubelet says.
func TestNamedFaults(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := Application{
		TargetRevision: "shop/v1.4.0", Phase: "Succeeded", FinishedAt: now.Add(-time.Minute), ReconciledAt: now.Add(-time.Minute),
		HealthSince: now.Add(-time.Minute), SyncedRevision: "1", ComparedRevision: "1", SyncStatus: "Synced", Health: "Healthy",
	}
	pulling := &Sight{NotPulled: "Pod orders-x: image stage.example/orders@sha256:1: ImagePullBackOff: not found"}
	for _, test := range []struct {
		name   string
		change func(*Application)
		reason Reason
		says   string
	}{
		{"sync failed", func(a *Application) {
			a.Phase, a.Message = "Failed", "one or more objects failed to apply, reason: admission webhook denied\nsecond line"
		}, SyncFailed, "last operation is Failed: one or more objects failed to apply, reason: admission webhook denied"},
		{"sync failed without a word", func(a *Application) { a.Phase, a.Condition = "Error", "SyncError: no cluster" }, SyncFailed, "last operation is Error: SyncError: no cluster"},
		{"degraded", func(a *Application) {
			a.Health, a.HealthMessage = "Degraded", "Deployment orders: exceeded its progress deadline"
		}, HealthUnknown, "is Degraded: Deployment orders: exceeded its progress deadline"},
		{"progressing without a word", func(a *Application) { a.Health = "Progressing" }, HealthUnknown, "is Progressing"},
		{"crashing", func(a *Application) {
			a.Health, a.Live = "Progressing", &Sight{Trouble: "Pod orders-x: container main: CrashLoopBackOff: back-off 10s"}
		}, HealthUnknown, "is Progressing: Pod orders-x: container main: CrashLoopBackOff: back-off 10s"},
		{"cannot pull", func(a *Application) { a.Health, a.HealthMessage, a.Live = "Progressing", "1 of 2 updated", pulling }, ImageNotPulled, "is Progressing: Pod orders-x: image"},
		{"cannot pull in the middle of a sync", func(a *Application) { a.Phase, a.Live = "Running", pulling }, ImageNotPulled, "cannot start: Pod orders-x"},
		{"in the middle of a sync", func(a *Application) {
			a.Phase, a.Message = "Running", "waiting for healthy state of apps/Deployment/orders"
		}, HealthUnknown, "last operation is Running: waiting for"},
		{"healthy although a Pod cannot pull", func(a *Application) { a.Live = pulling }, "", ""},
		{"cannot be compared", func(a *Application) { a.SyncStatus, a.Condition = "Unknown", "ComparisonError: RENDER_DIFFERS: orders" }, HealthUnknown, "is Unknown: ComparisonError: RENDER_DIFFERS: orders"},
		{"compared with something else", func(a *Application) { a.ComparedRevision, a.Condition = "", "ComparisonError: x" }, HealthUnknown, "compared with nothing: ComparisonError: x"},
		{"another digest", func(a *Application) { a.Live = &Sight{Mismatch: "Pod orders-x runs y"} }, DigestMismatch, "is Healthy, but Pod orders-x runs y"},
		{"secrets", func(a *Application) {
			a.Phase, a.Message = "Failed", "fetch https://ada:hunter2@git.example/shop.git?token=hunter2 with Authorization: Bearer hunter2hunter2\thunter"
		}, SyncFailed, "last operation is Failed: fetch https://git.example/shop.git with Authorization: Bearer REDACTED hunter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := good
			test.change(&a)
			got := a.fault(Expectation{Revision: "1"}, now)
			if got.reason != test.reason || !strings.HasPrefix(got.text, test.says) || test.says == "" && got.text != "" || strings.Contains(got.text, "hunter2") {
				t.Errorf("%s: %q, want %s: %q", got.reason, got.text, test.reason, test.says)
			}
			if got.reason != "" && got.reason.Help() == "" {
				t.Errorf("no help for %s", got.reason)
			}
		})
	}
}

func TestComplain(t *testing.T) {
	pod := func(name, waiting, message string) Pod {
		return Pod{Name: name, Containers: []Container{{Name: "main", Image: "stage.example/orders@sha256:1", Waiting: waiting, Message: message}}}
	}
	stopping, ended := pod("a", "ErrImagePull", ""), pod("b", "ErrImagePull", "")
	stopping.Terminating, ended.Finished = true, true
	var s Sight
	s.complain([]Pod{
		stopping, ended, pod("c", "", ""), pod("d", "ContainerCreating", ""), pod("e", "CrashLoopBackOff", "back-off\nmore"), pod("f", "CreateContainerConfigError", ""),
		pod("g", "ErrImagePull", `failed to resolve "https://bot:s3cret@stage.example/v2/orders?X-Sig=s3cret": 404`), pod("h", "InvalidImageName", ""),
	})
	want := Sight{
		NotPulled: `Pod g: image stage.example/orders@sha256:1: ErrImagePull: failed to resolve "https://stage.example/v2/orders": 404`,
		Trouble:   "Pod e: container main: CrashLoopBackOff: back-off",
	}
	if s != want {
		t.Errorf("%+v\nwant %+v", s, want)
	}
}

// TestImageNotPulled: the reason reaches the person, for Dev and for Stage.
func TestImageNotPulled(t *testing.T) {
	s := newShop(t)
	n := s.see(func(p *Pod) {
		p.Containers[0].ImageID, p.Containers[0].Waiting, p.Containers[0].Message = "", "ImagePullBackOff", "not found"
	})
	s.argo.broken = map[string]bool{"dev-orders": true}
	s.settle(s.sighted(n))
	if wait := s.wait(n, "dev"); wait.Reason != ImageNotPulled || !strings.Contains(wait.Detail, "Application dev-orders is Degraded: Pod orders-7d4b9c-x2x: image dev.example/shop/orders:v1: ImagePullBackOff: not found") {
		t.Errorf("dev: %s", wait)
	}
	s.argo.broken = map[string]bool{"stage-orders": true}
	s.settle(s.sighted(n))
	if wait := s.wait(n, "stage"); wait.Reason != ImageNotPulled || !strings.Contains(wait.Detail, "stage.example/shop/orders@sha256:") {
		t.Errorf("stage: %s", wait)
	}
	if entry := s.entry("prod"); entry.Event != "" {
		t.Errorf("prod: %s", entry.Subject())
	}
}

// TestBriefSecrets: whatever stands in a foreign message, what lets somebody in
// goes (I9), and what does not stays.
func TestBriefSecrets(t *testing.T) {
	const digest = "@sha256:0123456789abcdef"
	for _, test := range []struct{ text, want string }{
		{"unable to access https://bot:hunter2@git.example/shop.git", "unable to access https://git.example/shop.git"},
		{"unable to access https://bot:p@ssw0rd@git.example/shop.git", "unable to access https://git.example/shop.git"},
		{"https://bot:pa/ss?w0rd@git.example/shop.git: not found", "https://git.example/shop.git: not found"},
		{`Get "https://r.example/v2/": Authorization: token ghp_abcdefghijklmnop`, `Get "https://r.example/v2/": Authorization: token REDACTED`},
		{"authorization: Bearer a.b.c denied", "authorization: Bearer REDACTED denied"},
		{"with bearer abcdefgh12", "with bearer REDACTED"},
		{"with token ghp_abcdefghijklmnop", "with token REDACTED"},
		{"dial: password=hunter2hunter2 refused", "dial: password=REDACTED refused"},
		{"client_secret=x GITLAB_TOKEN=y", "client_secret=REDACTED GITLAB_TOKEN=REDACTED"},
		{"https://blobs.example/x?sig=abc: EOF", "https://blobs.example/x EOF"},

		{"the token expired, secret not found", "the token expired, secret not found"},
		{"docker-pullable://r.example:5000/shop/orders" + digest, "docker-pullable://r.example:5000/shop/orders" + digest},
		{"https://bot:x@r.example/orders" + digest + " is gone", "https://r.example/orders" + digest + " is gone"},
		{"r.example/orders" + digest + " is gone", "r.example/orders" + digest + " is gone"},
	} {
		if got := brief(test.text); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.text, got, test.want)
		}
	}
}

func FuzzBrief(f *testing.F) {
	for _, text := range []string{"", "a\nb", "https://a:b@c?d", strings.Repeat("ü", 300), "\x00\xff", "bearer " + strings.Repeat("x", 20)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := brief(text)
		if strings.ContainsAny(got, "\n\r\x00") || len([]rune(got)) > maxBrief || brief(got) != got {
			t.Errorf("%q: %q", text, got)
		}
	})
}

// TestReasonsAreDocumented: docs/protocols.md has every reason, and none that is not
// one.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### Reasons\n")
	table, _, _ := strings.Cut(section, "\nThe sidecar's")
	var documented []Reason
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, Reason(row[1]))
	}
	if diff := cmp.Diff(Reasons(), documented); diff != "" {
		t.Errorf("reasons (-are +documented):\n%s", diff)
	}
}
