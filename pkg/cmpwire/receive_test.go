package cmpwire

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

// tape is a stream that was recorded: Send appends, Recv plays back.
type tape struct {
	messages []*pluginpb.AppStreamRequest
	broken   error // instead of the end
	read     int
}

func (s *tape) Send(m *pluginpb.AppStreamRequest) error {
	s.messages = append(s.messages, m)
	return nil
}

func (s *tape) Recv() (*pluginpb.AppStreamRequest, error) {
	if s.read == len(s.messages) {
		if s.broken != nil {
			return nil, s.broken
		}
		return nil, io.EOF
	}
	s.read++
	return s.messages[s.read-1], nil
}

func record(t *testing.T, m Metadata, o SendOptions) *tape {
	t.Helper()
	root := fstest.MapFS{
		"envs/prod/web.yaml": {Data: []byte("kind: Deployment\n")},
		"large.txt":          {Data: []byte(strings.Repeat("0123456789", 10_000))},
	}
	s := &tape{}
	if err := Send(t.Context(), s, root, m, o); err != nil {
		t.Fatal(err)
	}
	return s
}

func chunkOf(data []byte) *pluginpb.AppStreamRequest {
	return &pluginpb.AppStreamRequest{Request: &pluginpb.AppStreamRequest_File{File: &pluginpb.File{Chunk: data}}}
}

func TestSendAndReceive(t *testing.T) {
	s := record(t, Metadata{AppPath: "envs/prod", Env: []string{"A=1", "dropped", "EMPTY=", "A=2"}}, SendOptions{ChunkSize: 7})
	tree, got, err := Receive(s, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{AppName: "prod", AppPath: "envs/prod", Env: []string{"A=1", "EMPTY=", "A=2"}, Compressed: s.messages[0].GetMetadata().GetSize()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "2", "EMPTY": ""}, got.Environment()); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if text, err := tree.ReadFile("envs/prod/web.yaml"); err != nil || string(text) != "kind: Deployment\n" {
		t.Errorf("file: %q %v", text, err)
	}
}

// Every failure reads the stream to its end first: otherwise repo-server would
// report a broken pipe instead of our message.
func TestFailuresDrainTheStream(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*tape)
		limits Limits
		want   error
	}{
		"wrong checksum": {func(s *tape) { s.messages[0].GetMetadata().Checksum = strings.Repeat("0", 64) }, Limits{}, ErrChecksum},
		"no checksum":    {func(s *tape) { s.messages[0].GetMetadata().Checksum = "" }, Limits{}, ErrChecksum},
		"changed byte":   {func(s *tape) { s.messages[5].GetFile().Chunk[0] ^= 1 }, Limits{}, ErrChecksum},
		"lost chunk":     {func(s *tape) { s.messages = append(s.messages[:3], s.messages[4:]...) }, Limits{}, ErrChecksum},
		"bytes behind":   {func(s *tape) { s.messages = append(s.messages, chunkOf([]byte("more"))) }, Limits{}, ErrChecksum},
		"no metadata":    {func(s *tape) { s.messages = s.messages[1:] }, Limits{}, ErrMalformed},
		"nothing":        {func(s *tape) { s.messages = nil }, Limits{}, ErrMalformed},
		"compressed":     {func(*tape) {}, Limits{Compressed: 100}, ErrTooLarge},
		"kept":           {func(*tape) {}, Limits{Kept: 100}, ErrTooLarge},
		"extracted":      {func(*tape) {}, Limits{Extracted: 2000}, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := record(t, Metadata{AppPath: "."}, SendOptions{ChunkSize: 20})
			test.change(s)
			tree, _, err := Receive(s, test.limits)
			if !errors.Is(err, test.want) || tree != nil {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if s.read != len(s.messages) {
				t.Errorf("%d of %d messages were read", s.read, len(s.messages))
			}
		})
	}
}

func TestDrainingIsBounded(t *testing.T) {
	s := record(t, Metadata{AppPath: "."}, SendOptions{})
	for range 1000 {
		s.messages = append(s.messages, chunkOf(make([]byte, 1<<10)))
	}
	_, _, err := Receive(s, Limits{Compressed: 2 << 10})
	if !errors.Is(err, ErrTooLarge) || s.read > 30 {
		t.Errorf("got %v after %d messages", err, s.read)
	}
}

func TestBrokenStream(t *testing.T) {
	for name, keep := range map[string]int{"at once": 0, "after metadata": 1, "in the archive": 4} {
		t.Run(name, func(t *testing.T) {
			s := record(t, Metadata{AppPath: "."}, SendOptions{ChunkSize: 20})
			s.messages, s.broken = s.messages[:keep], context.DeadlineExceeded
			if _, _, err := Receive(s, Limits{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			s.read = 0
			if _, err := Drain(s, Limits{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("drain: got %v", err)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	s := record(t, Metadata{AppPath: "a"}, SendOptions{})
	m, err := Drain(s, Limits{})
	if err != nil || m.AppPath != "a" || s.read != len(s.messages) || m.Compressed == 0 {
		t.Errorf("got %+v %v", m, err)
	}
}

func TestSendEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := fstest.MapFS{"a": {}}
	if err := Send(ctx, &tape{}, root, Metadata{}, SendOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := Send(t.Context(), &tape{}, fstest.MapFS{}, Metadata{}, SendOptions{}); err == nil {
		t.Error("an empty repository is sent")
	}
}
