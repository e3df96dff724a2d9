package lease

import (
	"fmt"
	"testing"
)

// owner is who comes first of members that all see each other.
func owner(members []string, key string) string {
	best := members[0]
	for _, member := range members[1:] {
		if outranks(member, best, key) {
			best = member
		}
	}
	return best
}

// TestRanksAreKept: members of different versions must agree, so this table
// never changes.
func TestRanksAreKept(t *testing.T) {
	members := []string{"hook-6d4f-a", "hook-6d4f-b", "hook-6d4f-c"}
	for key, want := range map[string]string{
		"https://git.example/shop.git":   "hook-6d4f-c",
		"https://git.example/bakery.git": "hook-6d4f-b",
		"https://git.example/web.git":    "hook-6d4f-a",
		"ssh://git@git.example/api.git":  "hook-6d4f-c",
		"":                               "hook-6d4f-b",
	} {
		if got := owner(members, key); got != want {
			t.Errorf("%q belongs to %s, want %s", key, got, want)
		}
	}
}

func TestKeysAreSpread(t *testing.T) {
	share := map[string]int{}
	members := []string{"hook-7c9d8b5f4-2xkqz", "hook-7c9d8b5f4-9mwlp", "hook-7c9d8b5f4-tt4rn"}
	for _, key := range keys(1000) {
		share[owner(members, key)]++
	}
	for _, member := range members {
		// Five standard deviations of a fair three-sided coin are 75.
		if n := share[member]; n < 258 || n > 408 {
			t.Errorf("%s has %d of 1000 keys: %v", member, n, share)
		}
	}
}

// TestOneMoreMember takes its share, and nobody else's keys move.
func TestOneMoreMember(t *testing.T) {
	for n := 1; n <= 5; n++ {
		members := make([]string, n)
		for i := range members {
			members[i] = fmt.Sprintf("hook-%d", i)
		}
		const newcomer = "hook-new"
		moved := 0
		for _, key := range keys(1000) {
			before, after := owner(members, key), owner(append(members[:n:n], newcomer), key)
			if before == after {
				continue
			}
			moved++
			if after != newcomer {
				t.Errorf("%s moved from %s to %s", key, before, after)
			}
		}
		if want := 1000 / (n + 1); moved < want-80 || moved > want+80 {
			t.Errorf("%d of 1000 keys moved to the member beside %d, want about %d", moved, n, want)
		}
	}
}
