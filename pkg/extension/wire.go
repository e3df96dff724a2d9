package extension

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// wire is version 1 of the protocol on both sides.
type wire struct {
	plugin.NetRPCUnsupportedPlugin
	// judge is the program's function; nil on the host's side.
	judge Func
}

var _ plugin.GRPCPlugin = (*wire)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (w *wire) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	gatev1.RegisterGateServer(s, &server{judge: w.judge})
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (w *wire) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return gatev1.NewGateClient(c), nil
}

func requestOf(s gate.Subject, settings map[string]string) *gatev1.JudgeRequest {
	request := &gatev1.JudgeRequest{
		Pipeline: s.Pipeline, Environment: s.Environment, Version: s.Version.String(),
		Commit: s.Commit, SourceCommit: s.SourceCommit, Now: timestamppb.New(s.Now), Settings: settings,
	}
	for _, image := range s.Images {
		request.Images = append(request.Images, &gatev1.Image{Requested: image.Requested, Reference: image.Reference, Digest: image.Digest})
	}
	return request
}

func subjectOf(r *gatev1.JudgeRequest) (gate.Subject, error) {
	version, err := snapshot.ParseVersion(r.GetVersion())
	if err != nil {
		return gate.Subject{}, err
	}
	if err := r.GetNow().CheckValid(); err != nil {
		return gate.Subject{}, fmt.Errorf("now: %w", err)
	}
	s := gate.Subject{
		Pipeline: r.GetPipeline(), Environment: r.GetEnvironment(), Version: version,
		Commit: r.GetCommit(), SourceCommit: r.GetSourceCommit(), Now: r.GetNow().AsTime(),
	}
	for _, image := range r.GetImages() {
		s.Images = append(s.Images, gate.Image{Requested: image.GetRequested(), Reference: image.GetReference(), Digest: image.GetDigest()})
	}
	return s, nil
}

func results() map[gatev1.Result]gate.Result {
	return map[gatev1.Result]gate.Result{
		gatev1.Result_RESULT_PASS:    gate.Pass,
		gatev1.Result_RESULT_WAIT:    gate.Wait,
		gatev1.Result_RESULT_REFUSE:  gate.Refuse,
		gatev1.Result_RESULT_UNKNOWN: gate.Unknown,
	}
}

func responseOf(v gate.Verdict) (*gatev1.JudgeResponse, error) {
	for wired, result := range results() {
		if result == v.Result {
			response := &gatev1.JudgeResponse{Result: wired, Detail: v.Detail}
			if !v.Until.IsZero() {
				response.Until = timestamppb.New(v.Until)
			}
			return response, nil
		}
	}
	return nil, fmt.Errorf("the gate answers %q, which is no result", shorten(flatten(string(v.Result))))
}

// verdictOf believes nothing that it is told.
func verdictOf(r *gatev1.JudgeResponse) (gate.Verdict, error) {
	result, ok := results()[r.GetResult()]
	if !ok {
		return gate.Verdict{}, fmt.Errorf("answered with result %d, which is none", r.GetResult())
	}
	if flatten(r.GetDetail()) == "" {
		return gate.Verdict{}, fmt.Errorf("answered %s without a detail, and so without a reason", result)
	}
	v := gate.Verdict{Result: result, Detail: r.GetDetail()}
	if r.GetUntil() != nil {
		if err := r.GetUntil().CheckValid(); err != nil {
			return gate.Verdict{}, fmt.Errorf("answered %s until a time that is none: %w", result, err)
		}
		v.Until = r.GetUntil().AsTime().Truncate(time.Second)
	}
	return v, nil
}
