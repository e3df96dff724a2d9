package extension

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

func subject() gate.Subject {
	return gate.Subject{
		Pipeline: "shop", Environment: "prod", Version: snapshot.Version{Pipeline: "shop", Major: 1, Minor: 4},
		Commit: strings.Repeat("a", 40), SourceCommit: strings.Repeat("b", 40),
		Images: []gate.Image{
			{Requested: "dev.example/orders:1", Reference: "stage.example/orders@sha256:1", Digest: "sha256:1"},
			{Requested: "dev.example/pay:2", Reference: "stage.example/pay@sha256:2", Digest: "sha256:2"},
		},
		Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	}
}

func TestSubjectOverTheWire(t *testing.T) {
	settings := map[string]string{"a": "b"}
	request := requestOf(subject(), settings)
	got, err := subjectOf(request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(subject(), got); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(settings, request.GetSettings()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestVerdictOverTheWire(t *testing.T) {
	for _, want := range []gate.Verdict{
		{Result: gate.Pass, Detail: "good"},
		{Result: gate.Wait, Detail: "later", Until: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		{Result: gate.Refuse, Detail: "never"},
		{Result: gate.Unknown, Detail: "who knows"},
	} {
		response, err := responseOf(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verdictOf(response)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("verdict (-want +got):\n%s", diff)
		}
	}
}

// TestServer is the program's side without a process.
func TestServer(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*gatev1.JudgeRequest)
		verdict func() gate.Verdict
		code    codes.Code
		message string
	}{
		{"version", func(r *gatev1.JudgeRequest) { r.Version = "v1" }, nil, codes.InvalidArgument, `"v1" is not a snapshot version; write <pipeline>/v<major>.<minor>.<patch>, for instance shop/v1.4.0`},
		{"no time", func(r *gatev1.JudgeRequest) { r.Now = nil }, nil, codes.InvalidArgument, "invalid nil Timestamp"},
		{"panic", nil, func() gate.Verdict { panic("oh") }, codes.Internal, "panic: oh"},
		{"zero", nil, func() gate.Verdict { return gate.Verdict{} }, codes.Internal, `the gate answers "", which is no result`},
		{"word", nil, func() gate.Verdict { return gate.Verdict{Result: "PASS"} }, codes.Internal, `the gate answers "PASS", which is no result`},
		{"pass", nil, func() gate.Verdict { return gate.Verdict{Result: gate.Pass, Detail: "good"} }, codes.OK, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := requestOf(subject(), nil)
			if test.change != nil {
				test.change(request)
			}
			s := &server{judge: func(context.Context, gate.Subject, map[string]string) gate.Verdict { return test.verdict() }}
			_, err := s.Judge(t.Context(), request)
			if got := status.Convert(err); got.Code() != test.code || !strings.HasSuffix(got.Message(), test.message) {
				t.Errorf("Judge: %v\nwant: %s %s", err, test.code, test.message)
			}
		})
	}
}

// FuzzResponse: whatever bytes a program answers, they are a verdict with a
// reason or none.
func FuzzResponse(f *testing.F) {
	for _, verdict := range []gate.Verdict{{Result: gate.Pass, Detail: "good"}, {Result: gate.Wait, Detail: "\n", Until: time.Unix(1, 0)}} {
		response, err := responseOf(verdict)
		if err != nil {
			f.Fatal(err)
		}
		wired, err := proto.Marshal(response)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wired)
	}
	f.Fuzz(func(t *testing.T, wired []byte) {
		var response gatev1.JudgeResponse
		if proto.Unmarshal(wired, &response) != nil {
			return
		}
		verdict, err := verdictOf(&response)
		if err != nil {
			if verdict != (gate.Verdict{}) {
				t.Errorf("verdict %+v in spite of %v", verdict, err)
			}
			return
		}
		again, err := responseOf(verdict)
		if err != nil || again.GetResult() != response.GetResult() || flatten(verdict.Detail) == "" {
			t.Errorf("verdict %+v of %v", verdict, &response)
		}
		if verdict.Result == gate.Pass && response.GetResult() != gatev1.Result_RESULT_PASS {
			t.Errorf("%v passes", &response)
		}
	})
}
