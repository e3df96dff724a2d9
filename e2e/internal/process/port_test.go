package process_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/fleeting-taas/propagator/e2e/internal/process"
)

func TestFreePortNeverRepeats(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[int]bool{}
	for range 8 {
		wg.Go(func() {
			ports, err := process.FreePorts(25)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			for _, p := range ports {
				if seen[p] {
					t.Errorf("port %d was handed out twice", p)
				}
				seen[p] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 200 {
		t.Errorf("%d ports, want 200", len(seen))
	}
}

func TestFreePortSkipsPortsInUse(t *testing.T) {
	first, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	// The next ones would follow, were they free.
	used := map[int]bool{}
	for p := first + 1; p <= first+5; p++ {
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		defer func() { _ = listener.Close() }()
		used[p] = true
	}
	next, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if used[next] {
		t.Errorf("port %d is in use", next)
	}
}
