package githost

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// Defaults of a [Memory].
const (
	// RememberedFor is how long a delivery is remembered: longer than a host goes
	// on trying, and longer than a signed time counts.
	RememberedFor = time.Hour
	// Remembered is how many deliveries, about; more push the oldest out.
	Remembered = 2048
)

// marks are what a delivery is known by.
//
// An id that is signed tells everything: the same id is the same delivery, and
// another id another one. Only GitLab's signing tokens sign it. Elsewhere the id
// is a header that whoever repeats a request can change, as can the event and
// the host, which is told by headers. So the digest of the body, the only thing
// that is signed, is a mark of its own; the id is one too, for a host that
// writes the body anew when it tries again. The price is that two pushes with
// the same body count as one: a branch that goes back and forth between two
// commits, with a host that puts no time into the body. The second of them is
// found a moment later by whoever looks without being woken.
func marks(host Host, header http.Header, p proof, digest []byte) [][sha256.Size]byte {
	if len(p.signed) > 0 {
		return [][sha256.Size]byte{mark("signed id", header.Get("webhook-id"))}
	}
	all := [][sha256.Size]byte{mark("body", string(digest))}
	if id := deliveryID(host, header); id != "" {
		all = append(all, mark(string(host), id))
	}
	return all
}

func mark(kind, text string) [sha256.Size]byte { return sha256.Sum256([]byte(kind + "\x00" + text)) }

// Memory remembers deliveries for some time. It forgets them when the program
// ends, and other replicas do not know them: it saves work and is no defence.
// It may be used by several goroutines.
type Memory struct {
	age  time.Duration
	size int
	now  func() time.Time

	mu    sync.Mutex // guards the fields below
	known map[[sha256.Size]byte]bool
	queue []remembered // oldest first
}

type remembered struct {
	mark [sha256.Size]byte
	at   time.Time
}

// NewMemory makes one with room for [Remembered] deliveries.
func NewMemory() *Memory {
	return &Memory{age: RememberedFor, size: 2 * Remembered, now: time.Now, known: map[[sha256.Size]byte]bool{}}
}

// Repeated reports whether a delivery came before, and remembers it. Only one
// that was verified may get here.
func (m *Memory) Repeated(d Delivery) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for len(m.queue) > 0 && now.Sub(m.queue[0].at) >= m.age {
		m.forget()
	}
	repeated := false
	for _, mark := range d.marks {
		if m.known[mark] {
			repeated = true
			continue
		}
		if len(m.queue) == m.size {
			m.forget()
		}
		m.known[mark] = true
		m.queue = append(m.queue, remembered{mark, now})
	}
	return repeated
}

// forget drops the oldest mark.
func (m *Memory) forget() {
	delete(m.known, m.queue[0].mark)
	m.queue = m.queue[1:] // append moves the rest to a new array when this one is used up
}
