package promotion

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestLooks: as many look at a time as may, the next one when one has ended; and
// who has waited long enough, because those who look do not come to an end, goes on
// without a turn.
func TestLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := NewLooks(2)
		var ends []func()
		for range 2 {
			end, err := looks.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		begun := make(chan time.Duration)
		begin := func() {
			start := time.Now()
			end, err := looks.begin(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer end()
			begun <- time.Since(start)
		}
		go begin()
		synctest.Wait()
		select {
		case <-begun:
			t.Fatal("three look at a time")
		default:
		}
		time.Sleep(time.Second)
		ends[0]()
		if waited := <-begun; waited != time.Second {
			t.Errorf("the third waited %s for its turn", waited)
		}
		synctest.Wait() // it has given its turn back
		if _, err := looks.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		go begin()
		if waited := <-begun; waited != maxTurn {
			t.Errorf("behind those who never end it waited %s", waited)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := looks.begin(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever gives up gets %v", err)
		}
	})
	if end, err := (*Looks)(nil).begin(t.Context()); err != nil {
		t.Error(err)
	} else {
		end()
	}
}
