// Command misbehave is a gate that does what its first argument says. Only a few
// of them are what a gate should do.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fleeting-taas/propagator/pkg/extension"
	"github.com/fleeting-taas/propagator/pkg/extension/gatev1"
	"github.com/fleeting-taas/propagator/pkg/gate"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Report is what the program saw, in the file that the setting "report" names.
type Report struct {
	Arguments   []string
	Environment []string
	Directory   string
	Input       int64
	Subject     gate.Subject
	Settings    map[string]string
	Deadline    bool
	Process     int
}

func main() {
	mode := "good"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "garbage":
		fmt.Println("usage:\tgarbage [flags]")
		forever()
	case "unended":
		fmt.Print("no end of line")
	case "endless":
		for {
			fmt.Print(strings.Repeat("x", 1<<12))
		}
	case "exit":
		os.Exit(3)
	case "nothing":
	case "silent":
		os.Stdout.Close()
		forever()
	case "hang":
		forever()
	case "line":
		fmt.Println(os.Args[2])
		forever()
	case "plaintext":
		os.Unsetenv("PLUGIN_CLIENT_CERT")
		extension.Serve(good)
	case "cookie":
		os.Setenv("PROPAGATOR_GATE_PLUGIN", "of another program")
		extension.Serve(good)
	case "version":
		serve(2, &raw{})
	case "netrpc":
		serve(1, &netrpc{})
	case "empty":
		serve(1, &raw{})
	case "enumeration":
		serve(1, &raw{response: &gatev1.JudgeResponse{Result: 99, Detail: "very good"}})
	case "unspecified":
		serve(1, &raw{response: &gatev1.JudgeResponse{Detail: "very good"}})
	case "no-detail":
		serve(1, &raw{response: &gatev1.JudgeResponse{Result: gatev1.Result_RESULT_PASS, Detail: " \x00\n"}})
	case "until":
		serve(1, &raw{response: &gatev1.JudgeResponse{Result: gatev1.Result_RESULT_PASS, Detail: "good", Until: &timestamppb.Timestamp{Nanos: -1}}})
	case "large":
		serve(1, &raw{response: &gatev1.JudgeResponse{Result: gatev1.Result_RESULT_PASS, Detail: strings.Repeat("x", 1<<20)}})
	case "error":
		serve(1, &raw{err: status.Error(codes.Unavailable, "the other\nservice is down")})
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		extension.Serve(good)
		forever()
	case "child", "escaped-child":
		// It keeps the pipes open, as the children of a careless shell script do.
		child := exec.Command("/proc/self/exe", "hang")
		child.Args[0] = os.Args[0]
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: mode == "escaped-child"}
		if err := child.Start(); err != nil {
			panic(err)
		}
		extension.Serve(good)
	case "chatty":
		fmt.Fprintln(os.Stderr, "before: standard error")
		extension.Serve(chatty)
	case "early":
		// Until it is a plugin, what it prints takes another way.
		fmt.Fprintln(os.Stderr, "Authorization: Basic Zm9vOmJhcg==")
		os.Stderr.WriteString(strings.Repeat("y", 1<<20) + "\nend without an end")
		extension.Serve(good)
	case "host":
		host(os.Args[2], os.Args[3], os.Args[4])
	default:
		extension.Serve(func(ctx context.Context, s gate.Subject, settings map[string]string) gate.Verdict {
			verdict := good(ctx, s, settings)
			switch mode {
			case "crash":
				os.Exit(3)
			case "kill":
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				forever()
			case "panic":
				var settings map[string]string
				settings["a"] = "b"
			case "far-panic":
				go panic("somewhere else")
				forever()
			case "hang-in-judge":
				forever()
			}
			return verdict
		})
	}
}

// forever waits to be killed.
func forever() {
	time.Sleep(time.Hour)
}

// good answers what the settings say.
func good(ctx context.Context, s gate.Subject, settings map[string]string) gate.Verdict {
	if file := settings["report"]; file != "" {
		directory, _ := os.Getwd()
		input, _ := io.Copy(io.Discard, os.Stdin)
		_, deadline := ctx.Deadline()
		report, err := json.Marshal(Report{
			Arguments: os.Args, Environment: os.Environ(), Directory: directory, Input: input,
			Subject: s, Settings: settings, Deadline: deadline, Process: os.Getpid(),
		})
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(file+".new", report, 0o600); err != nil {
			panic(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			panic(err)
		}
	}
	if name := settings["write"]; name != "" {
		if err := os.MkdirAll(os.Getenv("TMPDIR")+"/"+name, 0o500); err != nil {
			panic(err)
		}
	}
	verdict := gate.Verdict{Result: gate.Result(settings["result"]), Detail: settings["detail"]}
	if until := settings["until"]; until != "" {
		verdict.Until, _ = time.Parse(time.RFC3339, until)
	}
	return verdict
}

// chatty prints more than any pipe holds.
func chatty(ctx context.Context, s gate.Subject, settings map[string]string) gate.Verdict {
	fmt.Fprintln(os.Stderr, "during: standard error, "+settings["api-token"]+", https://user:password@example.com/")
	fmt.Println("during: standard output \x1b[31m")
	for range 4000 {
		fmt.Println(strings.Repeat("z", 100))
	}
	fmt.Fprintln(os.Stderr, "last words")
	return good(ctx, s, settings)
}

// raw is a plugin that answers what it likes.
type raw struct {
	plugin.NetRPCUnsupportedPlugin
	gatev1.UnimplementedGateServer
	response *gatev1.JudgeResponse
	err      error
}

func (r *raw) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if r.response != nil || r.err != nil {
		gatev1.RegisterGateServer(s, r)
	}
	return nil
}

func (r *raw) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func (r *raw) Judge(context.Context, *gatev1.JudgeRequest) (*gatev1.JudgeResponse, error) {
	return r.response, r.err
}

type netrpc struct{}

func (*netrpc) Server(*plugin.MuxBroker) (any, error) { return struct{}{}, nil }

func (*netrpc) Client(*plugin.MuxBroker, *rpc.Client) (any, error) { return nil, nil }

func serve(version uint, p plugin.Plugin) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: version, MagicCookieKey: "PROPAGATOR_GATE_PLUGIN", MagicCookieValue: "a-gate-of-propagator",
		},
		VersionedPlugins: map[int]plugin.PluginSet{int(version): {"gate": p}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.NewNullLogger(),
	})
}

// host is the other side, so that a test can kill it.
func host(program, sum, report string) {
	e, err := extension.New(extension.Options{
		Command: program, Args: []string{"hang-in-judge"}, SHA256: sum, Settings: map[string]string{"report": report},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		panic(err)
	}
	version := snapshot.Version{Pipeline: "shop", Minor: 1}
	fmt.Println(e.Judge(context.Background(), gate.Subject{Pipeline: "shop", Version: version}))
}
