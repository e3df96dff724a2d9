package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const auditLog = `{"kind":"Event","verb":"list","user":{"username":"system:serviceaccount:argocd:hook","groups":["system:serviceaccounts"]},"objectRef":{"resource":"applications","apiGroup":"argoproj.io","namespace":"argocd"},"requestReceivedTimestamp":"2026-03-02T10:04:05.000000Z","annotations":{"authorization.k8s.io/decision":"allow"}}
{"kind":"Event","verb":"get","user":{"username":"system:serviceaccount:argocd:hook"},"objectRef":{"resource":"pods","subresource":"log","namespace":"shop","name":"web"},"requestReceivedTimestamp":"2026-03-02T10:04:06.000000Z","annotations":{"authorization.k8s.io/decision":"forbid"}}
{"kind":"Event","verb":"get","user":{"username":"system:serviceaccount:argocd:hook"},"requestURI":"/metrics","requestReceivedTimestamp":"2026-03-02T10:04:07.000000Z","annotations":{"authorization.k8s.io/decision":"forbid"}}
{"kind":"Event","verb":"get","us`

func TestReadDenials(t *testing.T) {
	at := time.Date(2026, 3, 2, 10, 4, 6, 0, time.UTC)
	const hook = "system:serviceaccount:argocd:hook"
	want := []Denial{
		{At: at, User: hook, Verb: "get", Resource: "pods/log", Namespace: "shop", Name: "web"},
		{At: at.Add(time.Second), User: hook, Verb: "get", Resource: "/metrics"},
	}
	got, err := readDenials(strings.NewReader(auditLog))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := readDenials(strings.NewReader("no audit log\n")); err == nil {
		t.Error("read something that is none")
	}
}

func FuzzReadDenials(f *testing.F) {
	f.Add(auditLog)
	f.Add("{}\nnull\n[]\n")
	f.Fuzz(func(t *testing.T, log string) {
		denials, err := readDenials(strings.NewReader(log))
		if err != nil && denials != nil {
			t.Error("denials and an error")
		}
	})
}
