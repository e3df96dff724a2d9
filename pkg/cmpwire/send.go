package cmpwire

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

// MaxMessage is the largest message that either side of Argo CD's own pair
// accepts by default, in bytes: 100 MiB.
const MaxMessage = 100 << 20

// pingInterval is how often repo-server pings a plugin that works in silence.
const pingInterval = 20 * time.Second

// Sender is the sending half of a stream.
type Sender interface {
	Send(*pluginpb.AppStreamRequest) error
}

// SendOptions are what repo-server lets its operator choose. The zero value
// means defaults.
type SendOptions struct {
	// Exclude are patterns of path.Match against the path from the root. A
	// directory that matches is left out with everything below it.
	Exclude []string
	// ChunkSize in bytes. Default: 64 KiB. (Argo CD's own default is 1 KiB.)
	ChunkSize int
}

// Dial connects to a plugin's socket as repo-server does.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval}))
}

// Generate asks a plugin to render one application of the repository root, as
// repo-server does, and returns the manifests. The error is the plugin's own
// status when it answered with one.
func Generate(ctx context.Context, conn grpc.ClientConnInterface, root fs.FS, m Metadata, o SendOptions) ([]string, error) {
	// Cancelling releases the stream when sending fails half-way.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pluginpb.NewConfigManagementPluginServiceClient(conn).GenerateManifest(ctx)
	if err != nil {
		return nil, err
	}
	if err := Send(ctx, stream, root, m, o); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	return response.GetManifests(), nil
}

// Send sends metadata and the repository root: gzipped tar in lexical order,
// with its checksum in front. The archive is built in memory first. A peer
// that answered before everything was sent makes it return io.EOF (wrapped).
func Send(ctx context.Context, stream Sender, root fs.FS, m Metadata, o SendOptions) error {
	archive, err := WriteArchive(root, o.Exclude)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(archive)
	metadata := &pluginpb.ManifestRequestMetadata{
		AppName:    cmp.Or(m.AppName, path.Base(m.AppPath)),
		AppRelPath: m.AppPath,
		Checksum:   hex.EncodeToString(sum[:]),
		Size:       int64(len(archive)),
	}
	for _, entry := range m.Env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			metadata.Env = append(metadata.Env, &pluginpb.EnvEntry{Name: name, Value: value})
		}
	}
	err = stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_Metadata{Metadata: metadata}})
	if err != nil {
		return fmt.Errorf("send metadata: %w", err)
	}
	for size := cmp.Or(o.ChunkSize, 64<<10); len(archive) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(size, len(archive))
		err := stream.Send(&pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: archive[:n]}}})
		if err != nil {
			return fmt.Errorf("send the repository: %w", err)
		}
		archive = archive[n:]
	}
	return nil
}

// WriteArchive packs files, directories and symbolic links of root into a
// gzipped tar archive, in lexical order, beginning with the root itself as ".".
// A root without any file is an error, as it is for repo-server.
func WriteArchive(root fs.FS, exclude []string) ([]byte, error) {
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	writer := tar.NewWriter(compressed)
	files := 0
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		excluded, err := matches(exclude, name)
		switch {
		case err != nil:
			return err
		case excluded && entry.IsDir():
			return fs.SkipDir
		case excluded:
			return nil
		}
		if entry.Type().IsRegular() {
			files++
		}
		return pack(writer, root, name, entry)
	})
	if err != nil {
		return nil, fmt.Errorf("pack the repository: %w", err)
	}
	if files == 0 {
		return nil, errors.New("pack the repository: no files to send")
	}
	if err := errors.Join(writer.Close(), compressed.Close()); err != nil {
		return nil, fmt.Errorf("pack the repository: %w", err)
	}
	return b.Bytes(), nil
}

func matches(patterns []string, name string) (bool, error) {
	for _, pattern := range patterns {
		if ok, err := path.Match(pattern, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// pack writes one entry; other kinds of files are left out.
func pack(writer *tar.Writer, root fs.FS, name string, entry fs.DirEntry) error {
	kind := entry.Type()
	if kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if kind == fs.ModeSymlink {
		if target, err = fs.ReadLink(root, name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = name
	if err := writer.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if kind != 0 {
		return nil
	}
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(writer, file)
	return err
}
