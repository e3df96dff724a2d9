package lease

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestSomebodyOwns: whatever happens to members and their connections, a key is
// without an owner for no longer than the bound after a member went.
func TestSomebodyOwns(t *testing.T) {
	schedules := 20
	if testing.Short() {
		schedules = 5
	}
	for seed := range uint64(schedules) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { schedule(t, rand.New(rand.NewPCG(seed, 1))) }) //nolint:gosec // a test's dice
		})
	}
}

// schedule plays twenty minutes to an hour of bad luck.
func schedule(t *testing.T, dice *rand.Rand) {
	s := newAPIServer(t)
	all := keys(6)
	var running []*member
	born := 0
	log := func(format string, args ...any) {
		t.Logf("%s "+format, append([]any{time.Now().Format("04:05")}, args...)...)
	}
	add := func() {
		running = append(running, join(t, s, fmt.Sprintf("hook-%d", born), func(c *Config) { c.Log = nil }))
		log("hook-%d joins", born)
		born++
	}
	add()
	var gone time.Time
	unowned, shared := 0, 0
	for range 40 {
		i := dice.IntN(len(running))
		m := running[i]
		switch dice.IntN(8) {
		case 0, 1:
			if len(running) < 5 {
				add()
			}
		case 2, 3:
			if len(running) > 1 {
				running = append(running[:i:i], running[i+1:]...)
				end := m.kill
				if dice.IntN(2) == 0 {
					end = m.stop
				}
				end()
				gone = time.Now()
				log("%s ends", m.config.Identity)
			}
		case 4:
			m.link.set(up)
			log("%s is back", m.config.Identity)
		default:
			state := []int{down, hung, mute, broken}[dice.IntN(4)]
			m.link.set(state)
			log("%s is cut off: %d", m.config.Identity, state)
		}
		for range 1 + dice.IntN(90) {
			pass(time.Second)
			none, once := orphans(running, all)
			if once {
				shared++
			}
			if len(none) == 0 {
				continue
			}
			unowned++
			if since := time.Since(gone); since > Bound(lifetime) {
				t.Fatalf("%s: nobody of %d owns %v, %s after the last one went", time.Now().Format("04:05"), len(running), none, since)
			}
		}
	}
	t.Logf("%d seconds with a key that nobody owned, %d in which all was shared", unowned, shared)
}

// orphans are the keys that nobody owns; once, whether all others have one owner.
func orphans(running []*member, keys []string) (none []string, once bool) {
	once = true
	for _, key := range keys {
		owners := 0
		for _, m := range running {
			if m.Owns(key) {
				owners++
			}
		}
		if owners == 0 {
			none = append(none, key)
		}
		once = once && owners == 1
	}
	return none, once
}
