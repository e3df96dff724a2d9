package doctor

import "testing"

func TestCommonRoot(t *testing.T) {
	tests := []struct{ path, annotation, want string }{
		{"envs/stage/orders", "", "."},
		{"envs/stage/orders", ".", "envs/stage/orders"},
		{"envs/stage/orders", ". ; ../web", "envs/stage"},
		{"envs/stage/orders", ".;/base", "."},
		{"envs/stage/orders", "/envs/stage", "envs/stage"},
		{"envs/stage/orders", "..;../../dev", "envs"},
		{"envs/stage/orders", "../../../..", "."},
		{"envs/stage", "/envs/stages", "envs"},
		{".", ".", "."},
	}
	for _, test := range tests {
		if got := commonRoot(test.path, test.annotation); got != test.want {
			t.Errorf("commonRoot(%q, %q) = %q, want %q", test.path, test.annotation, got, test.want)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]version{"v1.33.13": {1, 33}, "1.29": {1, 29}, "v1.28+": {1, 28}, "v1.30-gke.1": {1, 30}, "v2.14.21": {2, 14}} {
		if got, ok := parseVersion(text); !ok || got != want {
			t.Errorf("%s: got %v %v", text, got, ok)
		}
	}
	for image, want := range map[string]string{"quay.io/argoproj/argocd:v2.14.21": "v2.14.21", "localhost:5000/a/b": "", "a@sha256:00": "", "h:5000/a:v1@sha256:00": "v1", "a:latest": "latest"} {
		if got := imageTag(image); got != want {
			t.Errorf("%s: got %q, want %q", image, got, want)
		}
	}
}

func TestClusterService(t *testing.T) {
	tests := []struct {
		host, service, namespace string
		ok                       bool
	}{
		{"hook", "hook", "argocd", true},
		{"hook.tools", "hook", "tools", true},
		{"hook.tools.svc", "hook", "tools", true},
		{"hook.tools.svc.cluster.local.", "hook", "tools", true},
		{"hook.example.com", "", "", false},
		{"127.0.0.1", "", "", false},
		{"localhost", "", "", false},
	}
	for _, test := range tests {
		service, namespace, ok := clusterService(test.host, "argocd")
		if service != test.service || namespace != test.namespace || ok != test.ok {
			t.Errorf("%s: got %q %q %v", test.host, service, namespace, ok)
		}
	}
}

// FuzzNotifications: other people's configuration is foreign.
func FuzzNotifications(f *testing.F) {
	f.Add("template.a", "message: '{{ .x }}'")
	f.Add("service.webhook.propagator", "url: http://hook\nheaders: [{name: a, value: b}]")
	f.Add("subscriptions", "- selector: a in (b)")
	f.Add("trigger.a", "- send: [a]")
	f.Fuzz(func(_ *testing.T, key, text string) {
		n := &notes{}
		parseNotifications(map[string]string{key: text}, n, "x", "x")
	})
}
