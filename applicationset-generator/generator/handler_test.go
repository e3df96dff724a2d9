package generator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/service"
)

var everything = []string{
	"shop-stage-jobs@v0.1.0",
	"shop-stage-orders@v0.1.0",
	"shop-prod-jobs-prod-eu-shop@v0.1.0",
	"shop-prod-jobs-us-example-6443-shop@v0.1.0",
	"shop-prod-orders-prod-eu-shop@v0.1.0",
	"shop-prod-orders-us-example-6443-shop@v0.1.0",
}

// TestAnswer compares with testdata/answer.json to the byte. Package argo
// decodes the same file, and the request beside it, with Argo CD's own client.
func TestAnswer(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	r := serve(t, server.Client())
	body, err := os.ReadFile(filepath.Join("testdata", "request.json"))
	if err != nil {
		t.Fatal(err)
	}
	answer := r.send(http.MethodPost, path, string(body), "Bearer "+token)
	if answer.status != http.StatusOK || answer.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d, %s: %s", answer.status, answer.header.Get("Content-Type"), answer.body)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "answer.json"))
	if err != nil {
		t.Fatal(err)
	}
	// What differs from build to build has a fixed form in the file.
	revision := gitrepotest.MustRefs(t, server)["refs/tags/shop/v0.1.0"]
	got := strings.NewReplacer(`"renderer":"`+service.Version().Version+`"`, `"renderer":"v0.0.0"`, string(revision), strings.Repeat("0", 40)).Replace(answer.body)
	if diff := cmp.Diff(compact(t, string(want)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, got)
	}
	if again := r.send(http.MethodPost, path, string(body), "Bearer "+token); again.body != answer.body {
		t.Error("the second answer has other bytes")
	}
	if other := serve(t, server.Client()).send(http.MethodPost, path, string(body), "Bearer "+token); other.body != answer.body {
		t.Error("another replica answers other bytes")
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRequests(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	r := serve(t, server.Client())
	for _, test := range []struct {
		name, parameters string
		want             []string // nil: an error
		status           int
		says             string
	}{
		{"all", `{"pipeline":"shop"}`, everything, 200, ""},
		{"null means all", `{"pipeline":"shop","environments":null,"applications":null}`, everything, 200, ""},
		{"unknown parameters", `{"pipeline":"shop","later":{"x":[1]}}`, everything, 200, ""},
		{"one environment", `{"pipeline":"shop","environments":["stage"]}`, everything[:2], 200, ""},
		{"order is ours", `{"pipeline":"shop","environments":["prod","stage"]}`, everything, 200, ""},
		{"twice is once", `{"pipeline":"shop","environments":["stage","stage"]}`, everything[:2], 200, ""},
		{"one application", `{"pipeline":"shop","applications":["orders"]}`, []string{everything[1], everything[4], everything[5]}, 200, ""},
		{"both", `{"pipeline":"shop","environments":["stage"],"applications":["orders"]}`, everything[1:2], 200, ""},
		{"unknown pipeline", `{"pipeline":"web"}`, nil, 404, `unknown pipeline "web"`},
		{"unknown environment", `{"pipeline":"shop","environments":["stage","prd"]}`, nil, 404, `pipeline shop has no environment "prd" that is promoted to`},
		{"first environment", `{"pipeline":"shop","environments":["dev"]}`, nil, 404, `pipeline shop has no environment "dev" that is promoted to`},
		{"empty environment", `{"pipeline":"shop","environments":[""]}`, nil, 404, `no environment ""`},
		{"unknown application", `{"pipeline":"shop","applications":["orders","order"]}`, nil, 404, `pipeline shop has no application "order" in what was asked for`},
		{"no pipeline", `{}`, nil, 400, "input.parameters.pipeline is missing; name the pipeline"},
		{"no parameters", `null`, nil, 400, "input.parameters.pipeline is missing"},
		{"environments as text", `{"pipeline":"shop","environments":"stage"}`, nil, 400, "malformed request"},
		{"pipeline as list", `{"pipeline":["shop"]}`, nil, 400, "malformed request"},
		{"cut off", `{"pipeline":"shop"`, nil, 400, "malformed request"},
		{"too large", `{"pipeline":"` + strings.Repeat("x", maxBody) + `"}`, nil, 413, "request body too large: more than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := r.ask(test.parameters)
			if test.want != nil {
				if diff := cmp.Diff(test.want, answer.names(t)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				return
			}
			mustRefuse(t, answer, test.status, test.says)
		})
	}
}

// mustRefuse checks that an answer cannot be taken for a list: Argo CD takes
// every 2xx whose body lacks the list for an empty one.
func mustRefuse(t *testing.T, a answer, status int, says string) {
	t.Helper()
	var problem map[string]string
	err := json.Unmarshal([]byte(a.body), &problem)
	if a.status != status || err != nil || len(problem) != 1 || !strings.Contains(problem["message"], says) {
		t.Errorf("status %d, want %d; body %s (%v), want %s", a.status, status, a.body, err, says)
	}
}

func TestWrongRequests(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	promoted(t, server)
	r := serve(t, server.Client())
	good, body := "Bearer "+token, question(`{"pipeline":"shop"}`)
	for _, test := range []struct {
		name, method, path, authorization string
		status                            int
	}{
		{"no token", "POST", path, "", 401},
		{"wrong token", "POST", path, "Bearer 0123456789abcdeX", 401},
		{"beginning of the token", "POST", path, "Bearer 0123456789", 401},
		{"no scheme", "POST", path, token, 401},
		{"another scheme", "POST", path, "Basic " + token, 401},
		{"unresolved reference", "POST", path, "Bearer $propagator:token", 401},
		{"empty token", "POST", path, "Bearer ", 401},
		{"lower-case scheme", "POST", path, "bearer " + token, 200},
		{"query", "POST", path + "?x=1", good, 200},
		{"GET", "GET", path, good, 405},
		{"PUT", "PUT", path, good, 405},
		{"HEAD", "HEAD", path, good, 405},
		{"slash behind", "POST", path + "/", good, 404},
		{"another path", "POST", "/api/v1/getparams", good, 404},
		{"root", "POST", "/", good, 404},
		{"version 2", "POST", "/api/v2/getparams.execute", good, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := r.send(test.method, test.path, body, test.authorization)
			if answer.status != test.status {
				t.Errorf("status %d, want %d: %s", answer.status, test.status, answer.body)
			}
			if location := answer.header.Get("Location"); location != "" {
				t.Errorf("sent on to %s", location)
			}
			if test.status == 401 {
				mustRefuse(t, answer, 401, "")
			}
			if strings.Contains(answer.body, token) {
				t.Errorf("the answer tells the token: %s", answer.body)
			}
		})
	}
}

// TestBeforeTheFirstPromotion: nothing was promoted yet, so an empty list is
// the whole truth; it is a list all the same.
func TestBeforeTheFirstPromotion(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	s := newShop(t, server)
	r := serve(t, server.Client()).loaded()
	for _, parameters := range []string{`{"pipeline":"shop"}`, `{"pipeline":"shop","environments":["prod"]}`, `{"pipeline":"shop","applications":["orders"]}`} {
		if answer := r.ask(parameters); answer.body != `{"output":{"parameters":[]}}`+"\n" || answer.status != 200 {
			t.Errorf("%s: %d %s", parameters, answer.status, answer.body)
		}
	}
	// One environment has something, the other not yet.
	s.capture("shop/v0.1.0", "stage/orders", "prod/orders")
	s.promote("stage", "shop/v0.1.0")
	if diff := cmp.Diff([]string{"shop-stage-orders@v0.1.0"}, r.ask(`{"pipeline":"shop"}`).names(t)); diff != "" {
		t.Error(diff)
	}
	if answer := r.ask(`{"pipeline":"shop","environments":["prod"],"applications":["orders"]}`); answer.body != `{"output":{"parameters":[]}}`+"\n" {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

// TestRecordedRemovals are in git, so the answer follows them.
func TestRecordedRemovals(t *testing.T) {
	server := gitrepo.NewMemory(repoURL)
	s := promoted(t, server)
	r := serve(t, server.Client()).loaded()
	s.capture("shop/v0.2.0", "stage/orders", "prod/orders", "prod/jobs")
	s.promote("stage", "shop/v0.2.0")
	want := append([]string{"shop-stage-orders@v0.2.0"}, everything[2:]...)
	if diff := cmp.Diff(want, r.ask(`{"pipeline":"shop"}`).names(t)); diff != "" {
		t.Errorf("an application fewer (-want +got):\n%s", diff)
	}
	// Whoever asks for it by name is told, and keeps it.
	mustRefuse(t, r.ask(`{"pipeline":"shop","environments":["stage"],"applications":["jobs"]}`), 404, `no application "jobs"`)

	s.commit(gitrepotest.Files{config.File: configuration[:strings.Index(configuration, "- name: prod")]})
	if diff := cmp.Diff(want[:1], r.ask(`{"pipeline":"shop"}`).names(t)); diff != "" {
		t.Errorf("an environment fewer (-want +got):\n%s", diff)
	}
	mustRefuse(t, r.ask(`{"pipeline":"shop","environments":["prod"]}`), 404, `no environment "prod"`)
}

// TestNames: whatever folders and clusters are called, names are fit for
// Kubernetes; and two Applications of one name are refused.
func TestNames(t *testing.T) {
	if got := objectName("shop-stage-My App_2.Ü-"); got != "shop-stage-my-app-2" {
		t.Errorf("name: %s", got)
	}
	server := gitrepo.NewMemory(repoURL)
	s := newShop(t, server, gitrepotest.Files{config.File: configuration + "- {name: prod-eu, after: [stage], path: envs/prod-eu, registry: prod}\n" +
		"- {name: prod-us, after: [stage], path: envs/prod-us, registry: prod}\n"})
	s.capture("shop/v0.1.0", "stage/My App_2", "prod-eu/orders", "prod-us/orders", "stage/eu-orders")
	s.promote("stage", "shop/v0.1.0")
	s.promote("prod-eu", "shop/v0.1.0")
	s.promote("prod-us", "shop/v0.1.0")
	r := serve(t, server.Client()).loaded()
	if diff := cmp.Diff([]string{"shop-stage-my-app-2@v0.1.0", "shop-stage-eu-orders@v0.1.0", "shop-prod-eu-orders@v0.1.0", "shop-prod-us-orders@v0.1.0"}, r.ask(`{"pipeline":"shop"}`).names(t)); diff != "" {
		t.Error(diff)
	}

	// "stage" with "eu-orders" is "stage-eu" with "orders".
	other := gitrepo.NewMemory(repoURL)
	s = newShop(t, other, gitrepotest.Files{config.File: configuration + "- {name: stage-eu, after: [dev], path: envs/stage-eu, registry: prod}\n"})
	s.capture("shop/v0.1.0", "stage/eu-orders", "stage-eu/orders")
	s.promote("stage", "shop/v0.1.0")
	s.promote("stage-eu", "shop/v0.1.0")
	mustRefuse(t, serve(t, other.Client()).ask(`{"pipeline":"shop"}`), 503,
		"eu-orders of environment stage and orders of environment stage-eu would both be the Application shop-stage-eu-orders; rename")
}
