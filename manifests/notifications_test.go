package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	antonmedv "github.com/antonmedv/expr"
	exprlang "github.com/expr-lang/expr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
)

// samples are Applications as the two major versions of Argo CD write them.
const samples = "../pkg/argo/testdata"

func notifications(t *testing.T) map[string]string {
	t.Helper()
	var config corev1.ConfigMap
	find(t, build(t, "overlays/argocd-v2"), "ConfigMap", "argocd-notifications-cm", &config)
	return config.Data
}

// strict reads one value of the ConfigMap.
func strict(t *testing.T, text string, into any) {
	t.Helper()
	if text == "" {
		t.Fatal("the entry is gone")
	}
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}

func application(t *testing.T, name string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(samples, name))
	if err != nil {
		t.Fatal(err)
	}
	var app map[string]any
	if err := json.Unmarshal(raw, &app); err != nil {
		t.Fatal(err)
	}
	return app
}

// condition is an entry of a trigger, as both notification engines have it.
type condition struct {
	Description string   `json:"description"`
	When        string   `json:"when"`
	OncePer     string   `json:"oncePer"`
	Send        []string `json:"send"`
}

type webhook struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body"`
}

// TestTemplateMakesAnEvent: the body is what the hook decodes, whatever the
// Application lacks.
func TestTemplateMakesAnEvent(t *testing.T) {
	var entry struct {
		Webhook map[string]webhook `json:"webhook"`
	}
	strict(t, notifications(t)["template.propagator"], &entry)
	sent, ok := entry.Webhook["propagator"]
	if !ok || sent.Method != "POST" || sent.Path != "/api/v1/argocd" {
		t.Fatalf("webhooks %+v", entry.Webhook)
	}
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	body, err := template.New("body").Funcs(functions).Parse(sent.Body)
	if err != nil {
		t.Fatal(err)
	}
	full := hook.Event{
		Application: "shop-stage-orders", Namespace: "argocd", Pipeline: "shop", RepoURL: "https://git.example/shop.git",
		Phase: "Succeeded", Revision: "3f2a9c4100000000000000000000000000000001", FinishedAt: "2026-03-01T12:00:05Z",
	}
	prod := full
	prod.Application = "shop-prod-orders"
	quoted := full
	quoted.Application = `a "quoted" \ name`
	for name, test := range map[string]struct {
		app  map[string]any
		want hook.Event
	}{
		"2.14": {application(t, "application-v2.14.json"), full},
		"3":    {application(t, "application-v3.json"), prod},
		"new":  {map[string]any{"metadata": map[string]any{"name": "new"}}, hook.Event{Application: "new"}},
		"two sources": {
			map[string]any{"metadata": map[string]any{"name": "two"}, "spec": map[string]any{"sources": []any{}}, "status": map[string]any{}},
			hook.Event{Application: "two"},
		},
		"empty": {map[string]any{}, hook.Event{}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := body.Execute(&out, map[string]any{"app": test.app}); err != nil {
				t.Fatal(err)
			}
			var got hook.Event
			decode(t, out.Bytes(), &got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	app := application(t, "application-v2.14.json")
	app["metadata"].(map[string]any)["name"] = quoted.Application
	var out bytes.Buffer
	if err := body.Execute(&out, map[string]any{"app": app}); err != nil {
		t.Fatal(err)
	}
	var got hook.Event
	decode(t, out.Bytes(), &got)
	if diff := cmp.Diff(quoted, got); diff != "" {
		t.Errorf("quoting, -want +got:\n%s", diff)
	}
}

// TestTriggersInBothLanguages: Argo CD 2.14 and 3 have different expression
// libraries, and an error counts as false.
func TestTriggersInBothLanguages(t *testing.T) {
	languages := map[string]func(text string, app map[string]any) (any, error){
		"2.14": func(text string, app map[string]any) (any, error) {
			program, err := antonmedv.Compile(text)
			if err != nil {
				return nil, err
			}
			return antonmedv.Run(program, map[string]any{"app": app})
		},
		"3": func(text string, app map[string]any) (any, error) {
			program, err := exprlang.Compile(text)
			if err != nil {
				return nil, err
			}
			return exprlang.Run(program, map[string]any{"app": app})
		},
	}
	status := func(phase, health string) map[string]any {
		return map[string]any{"status": map[string]any{
			"operationState": map[string]any{"phase": phase, "finishedAt": "2026-03-01T12:00:05Z"},
			"health":         map[string]any{"status": health},
		}}
	}
	apps := map[string]struct {
		app  map[string]any
		want bool
	}{
		"healthy":      {application(t, "application-v2.14.json"), true},
		"healthy in 3": {application(t, "application-v3.json"), true},
		"progressing":  {status("Succeeded", "Progressing"), false},
		"running":      {status("Running", "Healthy"), false},
		"failed":       {status("Failed", "Healthy"), false},
		"no operation": {map[string]any{"status": map[string]any{"health": map[string]any{"status": "Healthy"}}}, false},
		"no health":    {map[string]any{"status": map[string]any{"operationState": map[string]any{"phase": "Succeeded"}}}, false},
		"no status":    {map[string]any{"metadata": map[string]any{"name": "new"}}, false},
		"null status":  {map[string]any{"status": nil}, false},
	}
	config := notifications(t)
	texts := map[string]string{}
	for trigger, oncePer := range map[string]string{"on-propagator-deployed": "2026-03-01T12:00:05Z", "on-propagator-healthy": ""} {
		var conditions []condition
		strict(t, config["trigger."+trigger], &conditions)
		if len(conditions) != 1 || len(conditions[0].Send) != 1 || conditions[0].Send[0] != "propagator" {
			t.Fatalf("%s: %+v", trigger, conditions)
		}
		c := conditions[0]
		// Argo CD keeps what was sent by the condition's text.
		if other, taken := texts[c.When]; taken {
			t.Errorf("%s has the condition of %s", trigger, other)
		}
		texts[c.When] = trigger
		for language, run := range languages {
			for name, test := range apps {
				t.Run(fmt.Sprintf("%s/%s/%s", trigger, language, name), func(t *testing.T) {
					got, err := run(c.When, test.app)
					if err != nil {
						t.Fatal(err)
					}
					if got != test.want {
						t.Errorf("got %v", got)
					}
				})
			}
			switch {
			case oncePer == "" && c.OncePer != "":
				t.Errorf("%s has oncePer, so that a failed delivery is not repeated", trigger)
			case oncePer != "":
				if got, err := run(c.OncePer, application(t, "application-v2.14.json")); err != nil || got != oncePer {
					t.Errorf("%s: once per %v: %v", trigger, got, err)
				}
			}
		}
	}
}

// TestNotificationsAreWired: subscription to trigger to template to service to
// the hook's Service.
func TestNotificationsAreWired(t *testing.T) {
	config := notifications(t)
	var subscriptions []struct {
		Recipients []string `json:"recipients"`
		Selector   string   `json:"selector"`
		Triggers   []string `json:"triggers"`
	}
	strict(t, config["subscriptions"], &subscriptions)
	if len(subscriptions) != 1 || !cmp.Equal(subscriptions[0].Recipients, []string{"propagator"}) || len(subscriptions[0].Triggers) != 2 {
		t.Fatalf("subscriptions %+v", subscriptions)
	}
	for _, trigger := range subscriptions[0].Triggers {
		if _, ok := config["trigger."+trigger]; !ok {
			t.Errorf("no trigger %s", trigger)
		}
	}
	selector, err := labels.Parse(subscriptions[0].Selector)
	if err != nil || !selector.Matches(labels.Set{"propagator.dev/pipeline": "any"}) || selector.Matches(labels.Set{"other": "label"}) {
		t.Errorf("selector %q: %v", subscriptions[0].Selector, err)
	}
	var service struct {
		URL      string `json:"url"`
		RetryMax int    `json:"retryMax"`
		Headers  []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"headers"`
	}
	strict(t, config["service.webhook.propagator"], &service)
	headers := map[string]string{}
	for _, header := range service.Headers {
		headers[header.Name] = header.Value
	}
	// An int to both engines; 0 would be three retries, and whatever is below it is one attempt.
	if service.RetryMax >= 0 {
		t.Errorf("retryMax %d: a hook that is down delays everybody's notifications", service.RetryMax)
	}
	want := map[string]string{"Authorization": "Bearer $propagator-token", "Content-Type": "application/json"}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var plugin corev1.ConfigMap
	find(t, build(t, "base"), "ConfigMap", "propagator", &plugin)
	if plugin.Data["token"] != "$propagator-token:token" {
		t.Errorf("the generator's token is %q", plugin.Data["token"])
	}
	for name, url := range map[string]string{"propagator-notifications-hook": service.URL, "propagator-applicationset-generator": plugin.Data["baseUrl"]} {
		if url != "http://"+name+".argocd.svc.cluster.local:8080" {
			t.Errorf("%s is at %s", name, url)
		}
		find(t, build(t, "base"), "Service", name, new(corev1.Service))
	}
	for key := range config {
		if !strings.Contains(key, "propagator") && key != "subscriptions" {
			t.Errorf("%s is not ours", key)
		}
	}
}
