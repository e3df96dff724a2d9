package render

import (
	"crypto/sha256"
	"sync"
)

// understood remembers of YAML texts whether there are objects in them, by what
// is in them: whoever asks for the applications of a tree asks again and again,
// and seldom has a file changed. Texts with a fault are not remembered.
var understood = texts{known: map[[sha256.Size]byte]bool{}}

// maxTexts bounds what is remembered; a text takes some fifty bytes.
const maxTexts = 16_384

type texts struct {
	mu    sync.Mutex // guards known
	known map[[sha256.Size]byte]bool
}

// objects reports whether a text has objects, or why it cannot be said.
func (t *texts) objects(text []byte) (bool, error) {
	key := sha256.Sum256(text)
	t.mu.Lock()
	some, known := t.known[key]
	t.mu.Unlock()
	if known {
		return some, nil
	}
	documents, err := split(text)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.known {
		if len(t.known) < maxTexts {
			break
		}
		delete(t.known, other) // any one
	}
	t.known[key] = len(documents) > 0
	return len(documents) > 0, nil
}
