package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// MaxManifestSize bounds the bytes of a manifest that are read or accepted:
// 4 MiB, what registries commonly accept themselves.
const MaxManifestSize = 4 << 20

// Verified is content that checks itself while it is read: reading it to its
// end fails with ErrDigestMismatch unless the bytes hash to VerifiedDigest.
type Verified interface {
	io.ReadCloser
	VerifiedDigest() string
}

// Verify returns content that checks itself against digest and size (bytes;
// negative when unknown). With a known size the last bytes are handed out only
// after the check, so that a receiver that counts to size cannot complete on
// wrong content. Content that already checks the same digest is not hashed
// twice.
func Verify(content io.ReadCloser, digest string, size int64) io.ReadCloser {
	if v, ok := content.(Verified); ok && v.VerifiedDigest() == digest && size < 0 {
		return content
	}
	r := &verifier{content: content, digest: digest, size: size}
	if v, ok := content.(Verified); !ok || v.VerifiedDigest() != digest {
		r.hash = sha256.New()
	}
	return r
}

type verifier struct {
	content io.ReadCloser
	digest  string
	size    int64
	hash    hash.Hash // nil when content checks itself
	read    int64
	err     error
}

var _ Verified = (*verifier)(nil)

func (v *verifier) VerifiedDigest() string { return v.digest }

func (v *verifier) Close() error { return v.content.Close() }

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.content.Read(p)
	if v.hash != nil {
		v.hash.Write(p[:n]) // never fails
	}
	v.read += int64(n)
	if err == nil && v.size >= 0 && v.read == v.size {
		// That was to be all; the last bytes wait until the content agrees.
		var extra [1]byte
		var more int
		for more == 0 && err == nil {
			more, err = v.content.Read(extra[:])
		}
		v.read += int64(more)
	}
	switch {
	case v.size >= 0 && v.read > v.size:
		v.err = fmt.Errorf("%w: %s has more than %d bytes", ErrDigestMismatch, v.digest, v.size)
		return 0, v.err
	case errors.Is(err, io.EOF) && v.size >= 0 && v.read < v.size:
		v.err = fmt.Errorf("%w: %s has %d bytes instead of %d", ErrDigestMismatch, v.digest, v.read, v.size)
		return 0, v.err
	case errors.Is(err, io.EOF):
		if mismatch := v.check(); mismatch != nil {
			v.err = mismatch
			return 0, v.err
		}
	}
	if err != nil {
		v.err = err
	}
	return n, err
}

// check compares the hash of what was read; sums do not disturb the state.
func (v *verifier) check() error {
	if v.hash == nil {
		return nil
	}
	if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != v.digest {
		return fmt.Errorf("%w: content of %s hashes to %s", ErrDigestMismatch, v.digest, got)
	}
	return nil
}
