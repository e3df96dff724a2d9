// Package merge merges and compares trees of git, with objects alone: no
// worktree, no git program, no network.
package merge
