package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fleeting-taas/propagator/pkg/cmpwire"
	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

// errPanic: a bug; the log has the details.
var errPanic = errors.New("internal error in cmp-sidecar; its log has the details")

// plugin implements the plugin contract.
type plugin struct {
	pluginpb.UnimplementedConfigManagementPluginServiceServer

	limits   cmpwire.Limits
	workers  *workers
	metrics  *metrics
	log      *slog.Logger
	generate func(context.Context, Request) ([]string, error)
}

// CheckPluginConfiguration says that Applications must name the plugin and
// that git credentials are not wanted.
func (*plugin) CheckPluginConfiguration(context.Context, *emptypb.Empty) (*pluginpb.CheckPluginConfigurationResponse, error) {
	return &pluginpb.CheckPluginConfigurationResponse{}, nil
}

// GenerateManifest renders one application.
func (p *plugin) GenerateManifest(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.ManifestResponse]) error {
	start := time.Now()
	p.metrics.arrived(stream.Context())
	response, metadata, err := p.render(stream.Context(), stream)
	if err == nil {
		err = stream.SendAndClose(response)
	}
	p.metrics.renders.WithLabelValues(result(err)).Inc()
	env := metadata.Environment()
	attributes := []slog.Attr{
		slog.String("result", result(err)),
		slog.String("argocdApplication", clip(env["ARGOCD_APP_NAME"])),
		slog.String("path", clip(metadata.AppPath)),
		slog.String("revision", clip(env["ARGOCD_APP_REVISION"])),
		slog.Int64("archiveBytes", metadata.Compressed),
		slog.Duration("took", time.Since(start)),
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	p.log.LogAttrs(stream.Context(), slog.LevelInfo, "render", attributes...)
	return asStatus(err)
}

// render does the work of GenerateManifest. The stream has been read to its
// end when it returns, as far as the caller sent it.
func (p *plugin) render(ctx context.Context, stream cmpwire.Receiver) (_ *pluginpb.ManifestResponse, metadata cmpwire.Metadata, err error) {
	ctx, cancel := beforeDeadline(ctx)
	defer cancel()
	release, waited, err := p.workers.acquire(ctx)
	p.metrics.queue.Observe(waited.Seconds())
	if err != nil {
		metadata, drainErr := cmpwire.Drain(stream, p.limits)
		if drainErr != nil {
			err = fmt.Errorf("%w (%w)", err, drainErr)
		}
		return nil, metadata, err
	}
	defer release()
	defer func(start time.Time) { p.metrics.duration.Observe(time.Since(start).Seconds()) }(time.Now())

	tree, metadata, err := cmpwire.Receive(stream, p.limits)
	p.metrics.archive.Observe(float64(metadata.Compressed))
	if err != nil {
		return nil, metadata, err
	}
	manifests, err := p.contained(ctx, Request{Tree: tree, AppPath: metadata.AppPath, Env: metadata.Environment()})
	if err != nil {
		return nil, metadata, explainDeadline(ctx, err)
	}
	response := &pluginpb.ManifestResponse{Manifests: manifests}
	if size := proto.Size(response); size > cmpwire.MaxMessage {
		return nil, metadata, fmt.Errorf("%s: the manifests have %d MiB, repo-server accepts %d", metadata.AppPath, size>>20, cmpwire.MaxMessage>>20)
	}
	return response, metadata, nil
}

// contained turns a panic into an error.
func (p *plugin) contained(ctx context.Context, r Request) (manifests []string, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			p.logPanic(ctx, fault)
			err = errPanic
		}
	}()
	return p.generate(ctx, r)
}

func (p *plugin) logPanic(ctx context.Context, fault any) {
	p.log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("panic", fmt.Sprint(fault)), slog.String("stack", string(debug.Stack())))
}

// explainDeadline says which setting is too short: Argo CD has several.
func explainDeadline(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("rendering was not done before Argo CD's deadline; raise controller.repo.server.timeout.seconds and server.repo.server.timeout.seconds in argocd-cmd-params-cm: %w", err)
}

// MatchRepository is discovery, which is off: repo-server has no reason to
// ask. Applications that name the plugin are supported.
func (p *plugin) MatchRepository(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.RepositoryResponse]) error {
	if _, err := cmpwire.Drain(stream, p.limits); err != nil {
		return asStatus(err)
	}
	return stream.SendAndClose(&pluginpb.RepositoryResponse{IsSupported: true})
}

// GetParametersAnnouncement lists the plugin's parameters for the user
// interface.
func (p *plugin) GetParametersAnnouncement(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.ParametersAnnouncementResponse]) error {
	if _, err := cmpwire.Drain(stream, p.limits); err != nil {
		return asStatus(err)
	}
	return stream.SendAndClose(&pluginpb.ParametersAnnouncementResponse{ParameterAnnouncements: announcements()})
}

// asStatus makes an error a gRPC status. Argo CD drops the code, so all that
// matters is in the text; the code is for other clients.
func asStatus(err error) error {
	code := codes.FailedPrecondition
	switch result(err) {
	case "ok":
		return nil
	case "busy":
		code = codes.ResourceExhausted
	case "deadline":
		code = codes.DeadlineExceeded
	case "cancelled":
		code = codes.Canceled
	case "panic":
		code = codes.Internal
	case "archive", "parameters":
		code = codes.InvalidArgument
	}
	return status.Error(code, err.Error())
}
