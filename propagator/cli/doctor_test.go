package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/githttp"
	"github.com/fleeting-taas/propagator/pkg/gitrepo/gitrepotest"
	"github.com/fleeting-taas/propagator/pkg/kube/kubetest"
	"github.com/fleeting-taas/propagator/pkg/registry/registrytest"
	"github.com/fleeting-taas/propagator/pkg/service"
	"github.com/fleeting-taas/propagator/propagator/cli"
)

// patient is a doctor's subject: a cluster, our servers, a git server and
// registries that all want credentials.
type patient struct {
	t       *testing.T
	cluster *kubetest.Server
	env     []string
	names   []string // pairs for a replacer: addresses and what stands for them
}

// newPatient is an installation in good health, but for replacements in its
// objects. gitPassword and registryPassword are what the servers want.
func newPatient(t *testing.T, gitPassword, registryPassword string, replacements ...string) *patient {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // whoever runs the tests lends no credentials
	raw, err := os.ReadFile(filepath.Join("..", "..", "pkg", "doctor", "testdata", "installation.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	git := gitrepotest.Server(t, githttp.Options{Authorize: func(user, password string, _ bool) bool {
		return user == "propagator" && password == gitPassword || user == "propagator-read" && password == "MARKER-gitread-0123456789" || user == "fixture"
	}})
	url := git.Init("shop.git")
	repo := openRepo(t, strings.Replace(url, "://", "://fixture:fixture@", 1))
	gitrepotest.Grow(t, repo, gitrepo.Heads+"main", gitrepotest.Files{"propagator.yaml": string(config.Starter("shop", nil, nil))})

	tokens, err := service.NewTokens("MARKER-bearer-0123456789")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /api/v1/getparams.execute", tokens.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service.WriteError(w, http.StatusNotFound, "unknown pipeline")
	}), nil))
	mux.Handle("GET /api/v1/status", tokens.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service.WriteJSON(w, http.StatusOK, []map[string]any{{"repository": url, "at": time.Now().UTC(), "waits": []any{}}})
	}), nil))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { service.WriteJSON(w, http.StatusOK, nil) })
	programs := httptest.NewServer(mux)
	t.Cleanup(programs.Close)

	p := &patient{t: t, names: []string{git.URL, "https://git.example", programs.URL, "http://programs.example"}}
	var endpoints []string
	auths := map[string]map[string]string{}
	for _, name := range []string{"dev", "stage", "prod"} {
		options := registrytest.Options{}
		if name != "dev" {
			options = registrytest.Options{Username: "push", Password: registryPassword}
		}
		server := registrytest.NewServer(t, options)
		endpoints = append(endpoints, fmt.Sprintf("%s.registry.example=%s", name, server.URL))
		auths[name+".registry.example"] = map[string]string{"username": "push", "password": "MARKER-registry-0123456789"}
	}
	logins, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	replacements = append(replacements,
		"PROPAGATOR_REPOSITORY: https://git.example/shop.git", "PROPAGATOR_REPOSITORY: "+url+"\n  PROPAGATOR_REGISTRY_ENDPOINT: "+strings.Join(endpoints, ","),
		`'{"auths":{"stage.registry.example":{"username":"push","password":"MARKER-registry-0123456789"}}}'`, "'"+string(logins)+"'",
	)
	p.cluster = kubetest.New(t, strings.NewReplacer(replacements...).Replace(string(raw)))
	p.names = append(p.names, p.cluster.URL, "https://cluster.example", strings.TrimPrefix(git.URL, "http://"), "git.example")
	p.env = []string{
		"KUBECONFIG=" + p.cluster.Kubeconfig(), "PROPAGATOR_REGISTRY_RETRIES=0",
		"PROPAGATOR_HOOK_URL=" + programs.URL, "PROPAGATOR_GENERATOR_URL=" + programs.URL, "PROPAGATOR_SIDECAR_URL=" + programs.URL,
	}
	return p
}

// run returns the exit code, and what was printed, with the names of addresses.
// No secret may be in it.
func (p *patient) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(p.t.Context(), append([]string{"doctor"}, args...), p.env, strings.NewReader(""), &out, &errs)
	for _, secret := range []string{"MARKER", kubetest.Token, "TUFSS0VS"} { // the last is the first in base64
		if strings.Contains(out.String()+errs.String(), secret) {
			p.t.Errorf("doctor %v prints a secret:\n%s%s", args, &out, &errs)
		}
	}
	clean := strings.NewReplacer(p.names...)
	return code, clean.Replace(out.String()), clean.Replace(errs.String())
}

const (
	gitMarker      = "MARKER-git-0123456789"
	registryMarker = "MARKER-registry-0123456789"
)

func TestDoctor(t *testing.T) {
	tests := []struct {
		name    string
		patient func(*testing.T) *patient
		code    int
		args    []string
	}{
		{"healthy", func(t *testing.T) *patient { return newPatient(t, gitMarker, registryMarker) }, 0, nil},
		{"ill", func(t *testing.T) *patient {
			return newPatient(t, "rotated-password", "rotated-password",
				"applicationsSync: create-update", "applicationsSync: sync",
				"    plugin:\n      name: propagator\n", "    plugin:\n      name: propagator-v1.0\n",
				`exclusions: ".git"`, `exclusions: docs`,
				"token: $propagator-token:token", "token: MARKER-literal-0123456789",
			)
		}, 4, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := test.patient(t)
			code, stdout, stderr := p.run(test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s", code, test.code, stderr)
			}
			// Ports have four or five digits, which moves the columns.
			golden(t, "doctor-"+test.name+".txt", regexp.MustCompile(`(\S) {2,}`).ReplaceAllString(stdout+stderr, "$1  "))
			_, verbose, more := p.run("--verbose", "--own-credentials") // for what it must not print
			if verbose == "" || more == "" {
				t.Error("--verbose prints nothing")
			}
		})
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); refresh with -update:\n%s", name, diff)
	}
}

func TestDoctorFormats(t *testing.T) {
	p := newPatient(t, gitMarker, registryMarker, "applicationsSync: create-update", "applicationsSync: sync")
	code, stdout, _ := p.run("-o", "json", "--only", "kubernetes,applicationset")
	var got struct {
		Server, Namespace         string
		OK                        bool
		Failed, Warnings, Skipped int
		Findings                  []struct{ Check, Subject, Result, Message, Fix string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if code != 4 || got.OK || got.Failed != 1 || got.Server != "https://cluster.example" || got.Namespace != "argocd" || len(got.Findings) != 4 || got.Findings[2].Fix == "" {
		t.Errorf("code %d, got %+v", code, got)
	}
	code, stdout, _ = p.run("-o", "yaml", "--only", "kubernetes")
	if code != 0 || !strings.Contains(stdout, "ok: true\n") || !strings.Contains(stdout, "- check: kubernetes\n") {
		t.Errorf("code %d\n%s", code, stdout)
	}
	code, stdout, _ = p.run("--list", "--skip", "git")
	if code != 0 || !strings.Contains(stdout, "tar-exclusions") || strings.Contains(stdout, "git  ") {
		t.Errorf("code %d\n%s", code, stdout)
	}
	code, stdout, _ = p.run("--list", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"check": "clock"`) {
		t.Errorf("code %d\n%s", code, stdout)
	}
}

// TestDoctorCannotWork: mistakes are exit code 2, a cluster that is not there is
// exit code 1, and what needs none goes on.
func TestDoctorCannotWork(t *testing.T) {
	p := newPatient(t, gitMarker, registryMarker)
	tests := []struct {
		name string
		env  []string
		args []string
		code int
		want string
	}{
		{"unknown check", nil, []string{"--only", "gti"}, 2, `there is no check "gti"; there are kubernetes, argocd`},
		{"nothing left", nil, []string{"--only", "git", "--skip", "git"}, 2, "leave no check"},
		{"no time", nil, []string{"--check-timeout", "0s"}, 2, "must be greater than 0"},
		{"an argument", nil, []string{"git"}, 2, "unknown command"},
		{"no CA file", nil, []string{"--git-ca-file", "/missing"}, 2, "--git-ca-file"},
		{"no kubeconfig", []string{"KUBECONFIG=/missing"}, nil, 1, "hint: name the cluster: --kubeconfig FILE"},
		{"no cluster", []string{"KUBECONFIG=" + kubeconfigOf(t, "https://127.0.0.1:1")}, nil, 1, "kubernetes: /version: unreachable"},
		{"git needs none", []string{"KUBECONFIG=/missing", "PROPAGATOR_GIT_USERNAME=propagator", "PROPAGATOR_GIT_PASSWORD=" + gitMarker, "PROPAGATOR_REPOSITORY=" + p.names[0] + "/shop.git"}, []string{"--only", "git"}, 0, "without a cluster"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := *p
			if test.env != nil {
				q.env = test.env
			}
			code, stdout, stderr := q.run(test.args...)
			if code != test.code || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d with %q\n%s%s", code, test.code, test.want, stdout, stderr)
			}
		})
	}
}

// TestDoctorAsksAsTheHook: what stands in somebody's environment for other commands
// does not take the place of the Secrets, which are what is to be examined; what is
// typed does.
func TestDoctorAsksAsTheHook(t *testing.T) {
	p := newPatient(t, gitMarker, registryMarker)
	p.env = append(p.env, "PROPAGATOR_GIT_USERNAME=propagator", "PROPAGATOR_GIT_PASSWORD=of-somebody-else")
	if code, stdout, stderr := p.run("--only", "git"); code != 0 || !strings.Contains(stdout, "Secret propagator-git may push") {
		t.Errorf("with variables: exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{"--git-username", "propagator"}, {"--own-credentials"}} {
		if code, stdout, stderr := p.run(append(args, "--only", "git")...); code != 4 || !strings.Contains(stdout, "401") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

func kubeconfigOf(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"clusters":[{"name":"a","cluster":{"server":%q}}],"users":[{"name":"a","user":{"token":"MARKER-kube"}}]}`, server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestDoctorStrict: nobody can take a report with holes for one without.
func TestDoctorStrict(t *testing.T) {
	p := newPatient(t, gitMarker, registryMarker)
	p.cluster.Forbid("/nodes")
	type report struct {
		OK, Complete    bool
		Failed, Skipped int
	}
	for _, test := range []struct {
		args []string
		code int
		want report
	}{
		{nil, 0, report{OK: true, Skipped: 1}},
		{[]string{"--strict"}, 4, report{Skipped: 1}},
	} {
		code, stdout, stderr := p.run(append([]string{"-o", "json", "--only", "kubernetes"}, test.args...)...)
		var got report
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		if code != test.code || got != test.want {
			t.Errorf("%v: exit code %d with %+v, want %d with %+v\n%s", test.args, code, got, test.code, test.want, stderr)
		}
	}
	_, stdout, _ := p.run("--only", "kubernetes,argocd")
	if !strings.Contains(stdout, "skipped is not ok: nobody knows about kubernetes\n") {
		t.Errorf("the table does not say so:\n%s", stdout)
	}
	if code, stdout, _ := p.run("--strict", "--only", "argocd"); code != 0 || strings.Contains(stdout, "nobody knows") {
		t.Errorf("exit code %d although nothing was skipped:\n%s", code, stdout)
	}
}
