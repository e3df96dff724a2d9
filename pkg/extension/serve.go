package extension

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
)

// maxQuestion is for snapshots with tens of thousands of images.
const maxQuestion = 32 << 20

// Func judges a promotion with the settings of the pipeline. Its context ends
// when nobody waits for the verdict any more.
type Func func(ctx context.Context, s gate.Subject, settings map[string]string) gate.Verdict

// Serve is all that the main of a program has to do. It returns when the host has
// the verdict; when the program was not started by a host, it says so and exits
// with status 1.
//
// What judge or anything else writes to os.Stderr and os.Stdout goes to the
// host's log.
func Serve(judge Func) {
	// The library sends what is printed over the connection, and what is still on
	// its way when the host has the verdict is lost. What is written to the
	// process's own streams is read to the end.
	stdout, stderr := os.Stdout, os.Stderr
	direct := sync.OnceFunc(func() { os.Stdout, os.Stderr = stdout, stderr })
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake(),
		VersionedPlugins: versions(&wire{judge: func(ctx context.Context, s gate.Subject, settings map[string]string) gate.Verdict {
			direct()
			return judge(ctx, s, settings)
		}}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(maxQuestion))...)
		},
		// The library has little to say, and nothing about judging.
		Logger: hclog.NewNullLogger(),
	})
}

// server is the program's side of the protocol.
type server struct {
	gatev1.UnimplementedGateServer
	judge Func
}

// Judge implements gatev1.GateServer. A panic is an error of the call; where it
// was is printed.
func (s *server) Judge(ctx context.Context, r *gatev1.JudgeRequest) (_ *gatev1.JudgeResponse, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", fault, debug.Stack())
			err = status.Errorf(codes.Internal, "panic: %v", fault)
		}
	}()
	subject, err := subjectOf(r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	response, err := responseOf(s.judge(ctx, subject, r.GetSettings()))
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return response, nil
}
