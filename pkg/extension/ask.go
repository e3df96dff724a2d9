package extension

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
)

// ask is one judgement. When it returns, the process has ended and its files are
// gone.
func (e *Extension) ask(ctx context.Context, s gate.Subject) (gate.Verdict, error) {
	program, err := e.prepare(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	out := &output{log: e.log.With("plugin", e.name), clean: e.clean}
	defer func() {
		out.flush()
		if err := program.remove(); err != nil {
			e.log.WarnContext(ctx, "files of a plugin stay behind", "plugin", e.name, "directory", program.dir, "error", err)
		}
	}()
	return e.start(ctx, program, out).judge(ctx, requestOf(s, e.settings))
}

// session is a program while it is asked.
type session struct {
	client  *plugin.Client
	process *process
	// address is known when the program has said where it listens.
	address net.Addr
}

// start describes how the program is run; judge runs it.
func (e *Extension) start(ctx context.Context, p *program, out *output) *session {
	printed := out.writer("stdout", slog.LevelDebug)
	t := &session{process: newProcess(p, e.name, e.args, printed)}
	t.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: versions(&wire{}),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.dir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, sockets string) (runner.Runner, error) {
			t.process.tell(cmd.Env, sockets)
			return t.process, nil
		},
		// The context ends the process before that.
		StartTimeout: e.timeout + grace,
		// What the program prints until it has made itself a plugin, and then.
		Stderr:     out.writer("stderr", slog.LevelInfo),
		SyncStdout: printed,
		SyncStderr: out.writer("stderr", slog.LevelInfo),
		// The library says what it does, and repeats what the program prints.
		Logger: hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(t.dialer(ctx)),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
			grpc.WithMaxHeaderListSize(maxMessage),
			grpc.WithChainStreamInterceptor(withoutBroker),
		},
	})
	return t
}

// judge runs the program and asks it. When it returns, the program has ended.
func (t *session) judge(ctx context.Context, request *gatev1.JudgeRequest) (gate.Verdict, error) {
	defer t.end()
	// Not by the library's own deadlines: they leave out much of what can hang.
	stop := context.AfterFunc(ctx, t.process.stop)
	defer stop()
	var err error
	if t.address, err = t.client.Start(); err != nil {
		return gate.Verdict{}, t.startFault(err)
	}
	protocol, err := t.client.Client()
	if err != nil {
		return gate.Verdict{}, fmt.Errorf("cannot be connected with: %w", err)
	}
	dispensed, err := protocol.Dispense(pluginName)
	if err != nil {
		return gate.Verdict{}, err
	}
	asked, ok := dispensed.(gatev1.GateClient)
	if !ok {
		return gate.Verdict{}, fmt.Errorf("is asked by a %T", dispensed)
	}
	response, err := asked.Judge(ctx, request)
	if err != nil {
		return gate.Verdict{}, t.callFault(err)
	}
	return verdictOf(response)
}

// end asks the program to end, and makes it.
func (t *session) end() {
	patience := time.AfterFunc(grace, t.process.stop)
	defer patience.Stop()
	t.client.Kill()
}

// startFault says why a program is not the plugin that was expected.
func (t *session) startFault(err error) error {
	if t.process.ID() == "" {
		// The path would be that of the copy.
		if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
			err = wrapped.Err
		}
		return fmt.Errorf("cannot be started: %w", err)
	}
	fault, fate := t.process.stdout.fault(), t.process.fate()
	switch {
	case fault == nil:
		return fmt.Errorf("cannot be started: %w", err)
	case errors.Is(fault, errSilent) && fate != nil:
		return fmt.Errorf("ended with %w, and %w", fate, fault)
	}
	return fault
}

// callFault says why a program has not answered.
func (t *session) callFault(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable:
		// That is also what the end of a process looks like; how it ended is known
		// a moment later.
		t.process.await(grace)
		if fate := t.process.fate(); fate != nil {
			return fmt.Errorf("ended while it judged, with %w", fate)
		}
	case codes.Unimplemented:
		return errors.New("does not know the method Judge of propagator.gate.v1.Gate")
	case codes.ResourceExhausted:
		return fmt.Errorf("did not keep to the limit of %d bytes for an answer: %s", maxMessage, s.Message())
	}
	return fmt.Errorf("could not judge: %s", s.Message())
}

// dialer connects with where the program said that it listens. No connection
// outlives the judgement, so that nobody waits for a program that is silent.
func (t *session) dialer(ended context.Context) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, t.address.Network(), t.address.String())
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ended, func() { _ = conn.Close() })
		return conn, nil
	}
}

// withoutBroker refuses the library's way for programs to ask for more
// connections. A gate needs none.
func withoutBroker(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == "/plugin.GRPCBroker/StartStream" {
		return nil, status.Error(codes.Unimplemented, "gates have no broker")
	}
	return next(ctx, d, c, method, o...)
}
