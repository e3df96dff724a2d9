package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const manual = "../../docs/configuration.md"

func TestManualParses(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatchIndex(text, -1)
	if len(blocks) < 2 {
		t.Fatalf("%d yaml blocks in %s", len(blocks), manual)
	}
	for _, block := range blocks {
		if _, err := Parse(text[block[2]:block[3]], ""); err != nil {
			line := 1 + strings.Count(string(text[:block[2]]), "\n")
			t.Errorf("the example at line %d: %v", line, err)
		}
	}
}

// TestManualComplete: every field that is read has a row in a table of the
// manual, and every row names a field that is read.
func TestManualComplete(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(text, -1) {
		documented[string(row[1])] = true
	}
	d := &decoder{report: newReport("")}
	known := map[string]bool{}
	for prefix, fields := range map[string][]field{
		"":                                   pipelineFields(d, &Pipeline{}),
		"metadata.":                          metadataFields(d, &Pipeline{}),
		"source.":                            sourceFields(d, &Source{}),
		"source.schedule.":                   scheduleFields(d, &Schedule{}),
		"source.host.":                       hostFields(d, &CodeHost{}),
		"registries.<name>.":                 registryFields(d, &Registry{}),
		"upstreams[].":                       upstreamFields(d, &Upstream{}),
		"images[].":                          imageFields(d, &ImagePath{}),
		"services[].":                        serviceFields(d, &Service{}),
		"identity.":                          identityFields(d, &Identity{}),
		"hotfixes.":                          hotfixFields(d, &Hotfixes{}),
		"environments[].":                    environmentFields(d, &Environment{}),
		"environments[].gates[].":            gateFields(d, &Gate{}),
		"environments[].gates[].approval.":   approvalFields(d, &ApprovalGate{}),
		"environments[].gates[].window.":     windowFields(d, &WindowGate{}),
		"environments[].gates[].freeze.":     freezeFields(d, &FreezeGate{}),
		"environments[].gates[].prometheus.": prometheusFields(d, &PrometheusGate{}),
		"environments[].gates[].http.":       httpFields(d, &HTTPGate{}),
		"environments[].gates[].plugin.":     pluginFields(d, &PluginGate{}),
		"environments[].onFailure.":          onFailureFields(d, &OnFailure{}),
		"environments[].requests.":           requestsFields(d, &Requests{}),
		"environments[].destinations[].":     destinationFields(d, &Destination{}),
		"environments[].applications[].":     applicationFields(d, &Application{}),
		"environments[].capabilities.":       capabilitiesFields(d, &Capabilities{}),
		"environments[].gates[].signatures.": signaturesFields(d, &SignaturesGate{}),
		"environments[].gates[].signatures.identities[].": identitiesFields(d, &SigningIdentity{}),
		"environments[].gates[].job.":                     jobFields(d, &JobGate{}),
	} {
		for _, f := range fields {
			known[prefix+f.name] = true
			if !documented[prefix+f.name] {
				t.Errorf("%s has no row for %s", manual, prefix+f.name)
			}
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("%s has a row for %s, which does not exist", manual, name)
		}
	}
	// What was listed above by hand is all there is: every function of fields in
	// the source is one of the twenty-six.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n += len(regexp.MustCompile(`(?m)^func \w+Fields\(`).FindAll(source, -1))
	}
	if n != 27 {
		t.Errorf("the package knows %d kinds of objects; list them here", n)
	}
}
