package process

import (
	"strings"
	"testing"
)

func TestLastLines(t *testing.T) {
	for _, tc := range []struct {
		name, text   string
		lines, limit int
		want         string
	}{
		{"empty", "", 3, 100, ""},
		{"fewer than asked for", "a\nb\n", 3, 100, "a\nb"},
		{"exactly", "a\nb\nc\n", 3, 100, "a\nb\nc"},
		{"more", "a\nb\nc\nd\n", 2, 100, "c\nd"},
		{"last without its end", "a\nb", 1, 100, "b"},
		{"bytes before lines", "aaaa\nbbbb\ncccc\n", 3, 9, "bbbb\ncccc"},
		{"one line too long", strings.Repeat("x", 50) + "END\n", 3, 10, "xxxxxxxEND"},
		{"a long line before", strings.Repeat("x", 50) + "\nshort\n", 3, 10, "short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(lastLines([]byte(tc.text), tc.lines, tc.limit)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
