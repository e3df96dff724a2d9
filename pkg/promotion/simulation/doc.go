// Package simulation plays a whole release train against the promotion engine:
// people, CI, Argo CD, clocks, and every fault that a git server, a registry or
// an operating system can have, all of it decided by one number.
//
// A schedule is a seed. It says how many replicas there are, what the pipeline
// is configured to do, and then, step by step, what happens next: a person
// commits, an Application degrades, a clock jumps, or one call of one replica
// to git, a registry or Argo CD is let through, broken, or the last thing that
// the replica ever did. Replicas run in goroutines of their own, but only one
// moves at a time, from one call to the next, so that the same seed is the same
// schedule on every machine.
//
// After every step an auditor looks at git and the registries with eyes of its
// own and compares them with what it has seen before and with what the world
// knows to be true. At the end the faults stop, everything follows, and the
// pipeline has to arrive where nothing is left to do.
//
// The package has tests only; docs/simulation.md says how to run and replay
// them.
package simulation
