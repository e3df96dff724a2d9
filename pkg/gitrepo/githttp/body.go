package githttp

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// inMemory is the size in bytes up to which a request stays in memory; a
// larger one, which is a push of files, goes through a temporary file.
const inMemory = 1 << 20

// errStorage is the fault of this machine and not of the client.
var errStorage = errors.New("the server cannot store the request")

// body is a request's content, decompressed.
type body struct {
	reader io.Reader
	file   *os.File // nil when it is in memory
}

func (b body) remove() {
	if b.file != nil {
		_ = b.file.Close()
		_ = os.Remove(b.file.Name())
	}
}

// body reads the whole request before git starts. git answers while it still
// reads, and Go's http/1 server cannot read a request beside writing its
// answer without losing the connection; besides, a request that is too large
// gets a proper status this way.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (body, error) {
	in := http.MaxBytesReader(w, r.Body, h.options.MaxBody)
	if r.Header.Get("Content-Encoding") != "" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return body{}, fmt.Errorf("the body is not gzip: %w", err)
		}
		in = http.MaxBytesReader(w, z, h.options.MaxBody)
	}
	var head bytes.Buffer
	if _, err := io.CopyN(&head, in, inMemory); errors.Is(err, io.EOF) {
		return body{reader: &head}, nil
	} else if err != nil {
		return body{}, err
	}
	file, err := os.CreateTemp("", "githttp-*")
	if err != nil {
		return body{}, fmt.Errorf("%w: %w", errStorage, err)
	}
	b := body{reader: file, file: file}
	if _, err := io.Copy(file, io.MultiReader(&head, in)); err != nil {
		b.remove()
		if errors.As(err, new(*os.PathError)) {
			err = fmt.Errorf("%w: %w", errStorage, err)
		}
		return body{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		b.remove()
		return body{}, fmt.Errorf("%w: %w", errStorage, err)
	}
	return b, nil
}
