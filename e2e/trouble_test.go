//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fleeting-taas/propagator/e2e/internal/cluster"
	"github.com/fleeting-taas/propagator/e2e/internal/servicenet"
	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// What the scenarios about trouble break, and put back.

// afterwards runs something at the end of a test, also when it has failed. It
// comes before what was registered earlier, such as the company's end.
func afterwards(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Errorf("putting back %s: %v", what, err)
		}
	})
}

// must is for steps of the suite itself.
func (c *company) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// halt stops a component, until the end of the test or until it is started.
func (c *company) halt(w *workload.Workload) {
	c.t.Helper()
	c.must(w.Stop(c.t.Context()))
	afterwards(c.t, w.Ref().String(), w.Start)
}

// patch changes an object of Argo CD's namespace. It returns what changes the
// same fields back, which is done at the end of the test in any case.
func (c *company) patch(kind, name string, change, back any) (putBack func()) {
	c.t.Helper()
	apply := func(ctx context.Context, patch any) error {
		text, err := json.Marshal(patch)
		if err != nil {
			return err
		}
		_, err = world.cluster.Kubectl(ctx, "patch", kind, name, "--type", "merge", "--patch", string(text))
		return err
	}
	afterwards(c.t, kind+" "+name, func(ctx context.Context) error { return apply(ctx, back) })
	c.must(apply(c.t.Context(), change))
	return func() {
		c.t.Helper()
		c.must(apply(c.t.Context(), back))
	}
}

// get reads an object of Argo CD's namespace.
func (c *company) get(kind, name string) *unstructured.Unstructured {
	c.t.Helper()
	resource, ok := kinds[kind]
	if !ok {
		c.t.Fatalf("the suite does not know %s", kind)
	}
	object, err := world.cluster.Dynamic().Resource(resource).Namespace(cluster.Namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	c.must(err)
	return object
}

// secretValue is a decoded value of a Secret.
func (c *company) secretValue(name, key string) string {
	c.t.Helper()
	encoded, _, err := unstructured.NestedString(c.get("Secret", name).Object, "data", key)
	c.must(err)
	value, err := base64.StdEncoding.DecodeString(encoded)
	c.must(err)
	if len(value) == 0 {
		c.t.Fatalf("secret %s has no %s", name, key)
	}
	return string(value)
}

// generation is what the ApplicationSet says about its newest generation of
// Applications: an error, or none.
func (c *company) generation() (failed bool, message string) {
	c.t.Helper()
	failed, message, err := generationOf(c.get("ApplicationSet", c.applicationSet()))
	c.must(err)
	return failed, message
}

func generationOf(set *unstructured.Unstructured) (failed bool, message string, err error) {
	conditions, _, err := unstructured.NestedSlice(set.Object, "status", "conditions")
	for _, condition := range conditions {
		fields, ok := condition.(map[string]any)
		if ok && fields["type"] == "ErrorOccurred" {
			message, _ := fields["message"].(string)
			return fields["status"] == "True", message, err
		}
	}
	return false, "", err
}

// generateAll lets all ApplicationSets with an error be generated again, which they
// would be within a minute, until none has one.
func (s *suite) generateAll(ctx context.Context) error {
	sets := s.cluster.Dynamic().Resource(kinds["ApplicationSet"]).Namespace(cluster.Namespace)
	for last := ""; ; {
		list, err := sets.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("%w; %s", err, last)
		}
		last = ""
		for i := range list.Items {
			set := &list.Items[i]
			failed, message, err := generationOf(set)
			if err != nil {
				return err
			}
			if !failed {
				continue
			}
			last = set.GetName() + ": " + message
			patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"argocd.argoproj.io/application-set-refresh": "e2e-%d"}}}`, time.Now().UnixNano())
			if _, err := sets.Patch(ctx, set.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				return fmt.Errorf("%w; %s", err, last)
			}
		}
		if last == "" {
			return nil
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w; %s", context.Cause(ctx), last)
		}
	}
}

// awaitGenerationFault waits until the ApplicationSet says what is wrong, in
// all of these words, where a person looks for it.
func (c *company) awaitGenerationFault(words ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("the ApplicationSet's condition says %q", words), func() bool {
		failed, message := c.generation()
		return failed && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(message, word) })
	})
}

// generatorAsked are the questions of the ApplicationSet controller about the
// company.
func (c *company) generatorAsked() []servicenet.Request {
	return slices.DeleteFunc(world.net.Requests(generatorQuestions), func(r servicenet.Request) bool {
		return !strings.Contains(string(r.Body), `"applicationSetName":"`+c.applicationSet()+`"`)
	})
}

// generatorQuestions are the requests of every ApplicationSet.
var generatorQuestions = servicenet.Match{Host: generatorName + ".argocd.svc.cluster.local", Path: "/api/v1/getparams.execute"}

// generateAgain lets the ApplicationSet controller generate the company's
// Applications twice from now on. It does so one after the other, so that when
// it asks for the second time it has done all that the first answer made it do.
func (c *company) generateAgain() {
	c.t.Helper()
	for range 2 {
		before := len(c.generatorAsked())
		c.annotate("ApplicationSet", c.applicationSet(), "argocd.argoproj.io/application-set-refresh", fmt.Sprint("e2e-", time.Now().UnixNano()))
		c.eventually("the ApplicationSet controller asks the generator", func() bool { return len(c.generatorAsked()) > before })
	}
}

// unchanged returns a check that the company's Applications are those of now,
// with the same targets, and that none of them has ever been away.
func (c *company) unchanged() func() {
	c.t.Helper()
	targets := func() string {
		var lines []string
		for _, a := range c.applications() {
			lines = append(lines, a.Name+" "+a.TargetRevision)
		}
		return strings.Join(lines, "\n")
	}
	before, deleted := targets(), len(world.apps.Deleted())
	return func() {
		c.t.Helper()
		if now := targets(); now != before {
			c.t.Errorf("the Applications were\n%s\nand are\n%s", before, now)
		}
		if gone := world.apps.Deleted()[deleted:]; len(gone) > 0 {
			c.t.Errorf("deleted: %v", gone)
		}
	}
}

// said is what each replica of a component writes from now on.
func said(w *workload.Workload) func() []string {
	begin := map[string]int64{}
	for _, s := range w.Status() {
		if info, err := os.Stat(s.Log); err == nil {
			begin[s.Log] = info.Size()
		}
	}
	return func() []string {
		var all []string
		for _, s := range w.Status() {
			text, err := os.ReadFile(s.Log)
			if err != nil {
				continue
			}
			all = append(all, string(text[min(begin[s.Log], int64(len(text))):]))
		}
		return all
	}
}

// linesWith are the lines that have all of these words.
func linesWith(text string, words ...string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// awaitReady waits until components that were killed are back.
func (c *company) awaitReady(workloads ...*workload.Workload) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for _, w := range workloads {
		c.must(w.Ready(ctx))
	}
}
