package mirror

import (
	"context"
	"sync"
)

// memo does each piece of work once, whoever asks first; the others wait for it.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]*answer[V]
}

type answer[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func (m *memo[K, V]) do(ctx context.Context, key K, work func() (V, error)) (V, error) {
	m.mu.Lock()
	if m.known == nil {
		m.known = map[K]*answer[V]{}
	}
	a, ok := m.known[key]
	if !ok {
		a = &answer[V]{done: make(chan struct{})}
		m.known[key] = a
	}
	m.mu.Unlock()
	if !ok {
		a.value, a.err = work()
		close(a.done)
		return a.value, a.err
	}
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// keep forgets the answers that keep does not want, and all errors. No work
// may be under way.
func (m *memo[K, V]) keep(keep func(V) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, a := range m.known {
		if a.err != nil || !keep(a.value) {
			delete(m.known, key)
		}
	}
}
