// Package snapshot is the immutable unit that travels from environment to
// environment, and the ledger in which each environment records what it was
// given.
//
// A snapshot is one commit with one tag. Its tree is the source commit's tree
// plus one file, the lock ([Lock], at [LockFile]), in which every image of
// every environment is resolved to a digest. It names no environment: the
// same snapshot is deployed to all of them. The commit is deterministic (same
// source commit, same lock, same identity: same commit id, whoever makes it),
// so two workers that capture the same thing cannot disagree.
//
// A ledger is an environment's branch. Every commit in it is one [Entry]:
// what happened, to which snapshot, by whom, with which gates passed. Entries
// carry the whole state of the environment in their trailers, so the newest
// commit alone says what the environment runs, since when, whether that was
// proven healthy and whether it is on hold. The commits' first parents are the
// deployment history; the tree of each is the tree of the snapshot it names.
//
// The package builds and reads git objects; it talks to no server.
package snapshot
