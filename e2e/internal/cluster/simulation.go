package cluster

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// NeverReadyKey is a label or annotation, of any value, with which a Pod runs
// on the simulated node but is never ready.
const NeverReadyKey = "e2e.propagator.dev/never-ready"

// brokenImage matches the images that cannot be pulled: the repository ends in
// "/broken", or the tag has "broken" in it. A registry's port is no tag.
const brokenImage = `(/broken(:[^/@]*)?|:[^/@]*broken[^/@]*)(@.*)?$`

// What becomes of a Pod, as a query in KWOK's language (jq). KWOK takes a query
// that fails for one that finds nothing, so each part has to bear nulls.
const fate = `if .metadata.labels["` + NeverReadyKey + `"] != null or .metadata.annotations["` + NeverReadyKey + `"] != null then "never-ready"` +
	` elif any(.spec.initContainers[]?, .spec.containers[]; .image | test("` + brokenImage + `")) then "no-image"` +
	` else "ready" end`

// What a Pod says of itself: its phase and whether it is ready. A Pod whose
// containers nobody has spoken of yet says nothing.
const state = `if .status.containerStatuses == null then "new" else ` +
	`(.status.phase // "") + "/" + ([.status.conditions[]? | select(.type == "Ready") | .status][0] // "") end`

// A stage is KWOK's word for: when an object looks like this, do that. The
// object is a Pod unless group and kind say something else.
type stage struct {
	group string
	kind  string
	name  string
	when  []condition
	next  map[string]any
}

type condition struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// stages is KWOK's configuration: what a kubelet would report of the node's Pods.
func stages() []byte {
	exists := condition{Key: ".metadata.deletionTimestamp", Operator: "DoesNotExist"}
	unfinished := condition{Key: ".status.phase", Operator: "NotIn", Values: []string{"Succeeded", "Failed"}}
	// A Pod gets there from any other state, so that a mark may come and go.
	becomes := func(its, there, containers string) stage {
		phase, ready, _ := strings.Cut(there, "/")
		return stage{
			name: "pod-" + its,
			when: []condition{
				exists, unfinished,
				{Key: fate, Operator: "In", Values: []string{its}},
				{Key: state, Operator: "NotIn", Values: []string{there}},
			},
			next: map[string]any{"statusTemplate": podStatus(phase, ready, containers)},
		}
	}
	return configuration(
		becomes("ready", "Running/True", containerRuns("true")),
		becomes("never-ready", "Running/False", containerRuns("false")),
		becomes("no-image", "Pending/False", containerWaits),
		stage{
			name: "pod-of-job-completes",
			when: []condition{
				exists,
				{Key: state, Operator: "In", Values: []string{"Running/True"}},
				{Key: ".metadata.ownerReferences[]? | .kind", Operator: "In", Values: []string{"Job"}},
			},
			next: map[string]any{"statusTemplate": jobStatus},
		},
		stage{
			name: "pod-goes",
			when: []condition{{Key: ".metadata.deletionTimestamp", Operator: "Exists"}},
			next: map[string]any{"delete": true},
		},
		// As an ingress controller would. Argo CD takes an Ingress without an
		// address for one that is still progressing.
		stage{
			group: "networking.k8s.io/v1",
			kind:  "Ingress",
			name:  "ingress-gets-address",
			when:  []condition{{Key: ".status.loadBalancer.ingress[0].ip", Operator: "DoesNotExist"}},
			next:  map[string]any{"statusTemplate": "loadBalancer: {ingress: [{ip: 127.0.0.1}]}"},
		},
	)
}

func configuration(stages ...stage) []byte {
	var text bytes.Buffer
	for _, s := range stages {
		document, err := yaml.Marshal(map[string]any{
			"apiVersion": "kwok.x-k8s.io/v1alpha1",
			"kind":       "Stage",
			"metadata":   map[string]any{"name": s.name},
			"spec": map[string]any{
				"resourceRef": map[string]any{"apiGroup": cmp.Or(s.group, "v1"), "kind": cmp.Or(s.kind, "Pod")},
				"selector":    map[string]any{"matchExpressions": s.when},
				"next":        s.next,
			},
		})
		if err != nil {
			// Strings, in maps of them.
			panic(err)
		}
		text.WriteString("---\n")
		text.Write(document)
	}
	return text.Bytes()
}

// podStatus is the template of a Pod's status.
func podStatus(phase, ready, containers string) string {
	problem := ""
	if ready != "True" {
		problem = ", reason: ContainersNotReady, message: containers with unready status"
	}
	return fmt.Sprintf(`{{ $now := Now | Quote }}
phase: %[1]s
startTime: {{ or .status.startTime Now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ or .status.podIP (PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" )) | Quote }}
conditions:
- {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ $now }}}
- {type: Initialized, status: "True", lastTransitionTime: {{ $now }}}
- {type: ContainersReady, status: %[2]q, lastTransitionTime: {{ $now }}%[3]s}
- {type: Ready, status: %[2]q, lastTransitionTime: {{ $now }}%[3]s}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  restartCount: 0
%[4]s
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
%[4]s
  {{ else }}
  imageID: %[5]s
  ready: true
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}
  {{ end }}
{{ end }}
`, phase, ready, problem, containers, imageID)
}

// imageID is what a kubelet reports once it has pulled an image: repository and
// digest. Nobody resolves tags here, so of an image without a digest it is
// empty, which means unknown.
const imageID = `{{ if contains "@" .image }}{{ regexReplaceAll "(:[^/@]*)?@" .image "@" | Quote }}{{ else }}""{{ end }}`

func containerRuns(ready string) string {
	return "  imageID: " + imageID + `
  ready: ` + ready + `
  started: true
  state: {running: {startedAt: {{ $now }}}}`
}

// containerWaits is for the containers of a Pod of which one has no image.
const containerWaits = `  imageID: ""
  ready: false
  started: false
  state:
    waiting:
      {{ if regexMatch ` + "`" + brokenImage + "`" + ` .image }}
      reason: ImagePullBackOff
      message: {{ printf "Back-off pulling image %q" .image | Quote }}
      {{ else }}
      reason: ContainerCreating
      {{ end }}`

const jobStatus = `{{ $now := Now | Quote }}
phase: Succeeded
conditions:
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now }}}
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ` + imageID + `
  restartCount: 0
  ready: false
  started: false
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}
{{ end }}
`
