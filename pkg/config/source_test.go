package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCaptureForms(t *testing.T) {
	for _, test := range []struct {
		name, source string
		want         Source
	}{
		{"nothing", "{}", Source{Branch: "main", Capture: []CaptureMode{CaptureSync}}},
		{"a word", "{capture: tag}", Source{Branch: "main", Capture: []CaptureMode{CaptureTag}, Tags: "v*"}},
		{"a list of one", "{capture: [sync]}", Source{Branch: "main", Capture: []CaptureMode{CaptureSync}}},
		{"both", "{capture: [tag, sync], tags: release-*}", Source{Branch: "main", Capture: []CaptureMode{CaptureTag, CaptureSync}, Tags: "release-*"}},
		{"by hand", "{capture: manual}", Source{Branch: "main", Capture: []CaptureMode{CaptureManual}}},
		{"times", "{capture: schedule, schedule: {cron: 0 17 * * 1-5}}", Source{
			Branch: "main", Capture: []CaptureMode{CaptureSchedule}, Schedule: &Schedule{Cron: "0 17 * * 1-5", Timezone: "UTC"},
		}},
		{"times and tags", "{capture: [schedule, tag], schedule: {cron: 0 17 * * 1-5, timezone: Europe/Berlin}}", Source{
			Branch: "main", Capture: []CaptureMode{CaptureSchedule, CaptureTag}, Tags: "v*", Schedule: &Schedule{Cron: "0 17 * * 1-5", Timezone: "Europe/Berlin"},
		}},
		{"quiet", "{quiet: 2m}", Source{Branch: "main", Capture: []CaptureMode{CaptureSync}, Quiet: 2 * time.Minute, QuietAtMost: 20 * time.Minute}},
		{"quiet, at most", "{capture: [sync, tag], quiet: 2m, quietAtMost: 5m}", Source{
			Branch: "main", Capture: []CaptureMode{CaptureSync, CaptureTag}, Tags: "v*", Quiet: 2 * time.Minute, QuietAtMost: 5 * time.Minute,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse([]byte(`
apiVersion: propagator/v1alpha1
kind: Pipeline
metadata: {name: shop}
source: `+test.source+`
registries: {dev: {url: dev.example}, prod: {url: prod.example}}
environments:
- {name: dev, path: envs/dev, registry: dev}
- {name: prod, after: [dev], path: envs/prod, registry: prod}
`), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, p.Source); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCapturesZero: a pipeline that was not parsed behaves like one that says
// nothing.
func TestCapturesZero(t *testing.T) {
	if s := (Source{}); !s.Captures(CaptureSync) || s.Captures(CaptureTag) {
		t.Error("the zero Source does not mean sync")
	}
}

func TestTagsFault(t *testing.T) {
	for _, good := range []string{"v*", "*", "shop-v*", "release_*", "v*-shop", "V.*"} {
		if fault := tagsFault(good); fault != "" {
			t.Errorf("%s: %s", good, fault)
		}
	}
	for _, bad := range []string{"v", "v**", "*.*", "v?", "v[0-9]*", "shop/v*", "approve/*", "-*", ".*", "v*.lock", "v..*", "v *", "ü*", "v+*", "v*^{}", "refs/tags/v*", strings.Repeat("v", 100) + "*"} {
		if tagsFault(bad) == "" {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestMatchTag(t *testing.T) {
	for _, test := range []struct{ pattern, tag, want string }{
		{"v*", "v1.5.0", "1.5.0"},
		{"v*", "v1.5.0-rc.1", "1.5.0-rc.1"},
		{"v*", "vnext", "next"},
		{"v*", "v", ""},
		{"v*", "1.5.0", ""},
		{"*", "1.5.0", "1.5.0"},
		{"*", "shop/v1.5.0", ""},
		{"v*", "v/1.5.0", ""},
		{"shop-v*", "shop-v1.5.0", "1.5.0"},
		{"shop-v*", "v1.5.0", ""},
		{"v*-v", "v1-v", "1"},
		{"v*v", "v", ""},
		{"", "v1.5.0", ""},
	} {
		got, ok := Source{Tags: test.pattern}.MatchTag(test.tag)
		if got != test.want && ok || ok != (test.want != "") {
			t.Errorf("%s in %s: %q, %v", test.pattern, test.tag, got, ok)
		}
	}
}
