//go:build !race

package promotion

const raced = false
