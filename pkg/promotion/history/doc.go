// Package history plays random histories of people and hotfixes against the
// promotion engine, thousands of them, each decided by one number: releases,
// hotfix branches that are cut, stacked, rewritten and deleted, back-merges of
// every kind, reverts, rollbacks, overrides, and two engines at once.
//
// An oracle knows what each fix is for without any merging. Whatever people
// write into a tree is a value that nobody has written before, and the oracle
// remembers on top of which values it was written. So a tree has a fix if the
// value that it holds was made on top of the value that the fix brought, and a
// revert, which puts an old value back, takes the fix away. After every push the
// oracle looks at what the environments run.
//
// The package has tests only; docs/simulation.md says how to run and replay
// them.
package history
