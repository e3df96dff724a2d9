package gate

import (
	"sync"
	"time"
)

const (
	// provenLife is how long an image that is signed is not asked about again. A
	// signature of a digest never becomes wrong; it can only be deleted.
	provenLife = 10 * time.Minute
	maxProven  = 10000
)

// Proven remembers who signed images, so that a promotion which waits for a
// person does not ask the registry at each look. A nil one remembers nothing. It
// is safe for concurrent use.
type Proven struct {
	mu sync.Mutex // guards images
	// images by repository, digest and policy.
	images map[string]proof
}

type proof struct {
	who string
	at  time.Time
}

func (p *Proven) get(key string, now time.Time) (string, bool) {
	if p == nil {
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.images[key]
	age := now.Sub(found.at)
	return found.who, ok && age >= 0 && age < provenLife
}

func (p *Proven) put(key, who string, now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.images == nil || len(p.images) >= maxProven {
		p.images = map[string]proof{}
	}
	p.images[key] = proof{who, now}
}
