package cmpwire

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
)

// drainFactor is how many times the limit of compressed bytes is read and
// thrown away so that the sender gets to hear why its repository was refused.
const drainFactor = 8

// Metadata precedes the archive of a request.
type Metadata struct {
	// AppName is the last element of AppPath; not the Application's name.
	AppName string
	// AppPath is the application's folder in the archive; "." for its root.
	AppPath string
	// Env is a list of NAME=value in the sender's order.
	Env []string
	// Compressed is the archive's size in bytes as it travelled. Receive and
	// Drain fill it in; senders leave it zero.
	Compressed int64
}

// Environment returns Env as a map; of a name that occurs more than once, the
// last value counts, as in a process.
func (m Metadata) Environment() map[string]string {
	values := make(map[string]string, len(m.Env))
	for _, entry := range m.Env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	return values
}

// Receiver is the receiving half of a stream.
type Receiver interface {
	Recv() (*pluginpb.AppStreamRequest, error)
}

// Receive reads a request: metadata and repository. It verifies the checksum
// and reads the stream to its end in any case, as long as the sender does not
// exceed the limit of compressed bytes many times over. The metadata is valid
// as far as it arrived, even when there is an error; the tree only without.
// Receive is cancelled by the stream's context.
func Receive(stream Receiver, limits Limits) (*Tree, Metadata, error) {
	limits = limits.withDefaults()
	chunks, metadata, announced, err := begin(stream, limits)
	if err != nil {
		return nil, metadata, err
	}
	tree, archiveErr := ReadArchive(chunks, limits)
	err = chunks.drain()
	metadata.Compressed = chunks.total
	if err != nil {
		return nil, metadata, err
	}
	if chunks.total > limits.Compressed {
		return nil, metadata, fmt.Errorf("%w: compressed, it has %d MiB, more than %d; exclude .git from what repo-server sends, or raise --max-compressed", ErrTooLarge, chunks.total/mib, limits.Compressed/mib)
	}
	// Damage in transit explains whatever is wrong with the archive.
	if sum := hex.EncodeToString(chunks.hash.Sum(nil)); sum != announced {
		return nil, metadata, fmt.Errorf("%w: the archive has sha256 %s, the metadata say %s", ErrChecksum, sum, clip(announced))
	}
	if archiveErr != nil {
		return nil, metadata, archiveErr
	}
	return tree, metadata, nil
}

// Drain reads a request to its end and throws the repository away, for calls
// that do not need it. The error says that the stream broke.
func Drain(stream Receiver, limits Limits) (Metadata, error) {
	chunks, metadata, _, err := begin(stream, limits.withDefaults())
	if err != nil {
		return metadata, err
	}
	err = chunks.drain()
	metadata.Compressed = chunks.total
	return metadata, err
}

// begin reads the metadata. Anything else at the start is drained and refused.
func begin(stream Receiver, limits Limits) (*chunkReader, Metadata, string, error) {
	chunks := &chunkReader{stream: stream, limit: limits.Compressed, hash: sha256.New()}
	first, err := stream.Recv()
	if err != nil {
		return nil, Metadata{}, "", fmt.Errorf("%w: no metadata arrived: %w", ErrMalformed, err)
	}
	m := first.GetMetadata()
	if m == nil {
		err := fmt.Errorf("%w: the stream does not begin with metadata", ErrMalformed)
		return nil, Metadata{}, "", errors.Join(err, chunks.drain())
	}
	metadata := Metadata{AppName: m.GetAppName(), AppPath: m.GetAppRelPath()}
	for _, entry := range m.GetEnv() {
		metadata.Env = append(metadata.Env, entry.GetName()+"="+entry.GetValue())
	}
	return chunks, metadata, m.GetChecksum(), nil
}

// streamError is a stream that broke, as opposed to a bad archive on it.
type streamError struct{ err error }

func (e *streamError) Error() string { return "receive the repository: " + e.err.Error() }

func (e *streamError) Unwrap() error { return e.err }

// chunkReader reads the archive from a stream and hashes it on the way.
type chunkReader struct {
	stream Receiver
	limit  int64
	hash   hash.Hash

	chunk []byte
	total int64
	err   error // what the stream ended with; sticky
}

// Read implements io.Reader; it fails beyond the limit of compressed bytes.
func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.chunk) == 0 {
		if c.total > c.limit {
			return 0, ErrTooLarge
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.chunk)
	c.chunk = c.chunk[n:]
	return n, nil
}

// next receives a chunk.
func (c *chunkReader) next() error {
	if c.err != nil {
		return c.err
	}
	message, err := c.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		c.err = io.EOF
		return c.err
	case err != nil:
		c.err = &streamError{err}
		return c.err
	}
	c.chunk = message.GetFile().GetChunk()
	c.total += int64(len(c.chunk))
	_, _ = c.hash.Write(c.chunk) // never fails
	return nil
}

// drain reads the rest of the stream.
func (c *chunkReader) drain() error {
	c.chunk = nil
	for c.total <= c.limit*drainFactor {
		if err := c.next(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		c.chunk = nil
	}
	return fmt.Errorf("%w: more than %d times the limit of %d MiB arrived", ErrTooLarge, drainFactor, c.limit/mib)
}
