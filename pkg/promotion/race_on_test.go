//go:build race

package promotion

// raced: the race detector makes everything about eight times as slow.
const raced = true
