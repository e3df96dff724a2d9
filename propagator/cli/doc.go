// Package cli is the program propagator: the engine of package promotion by
// hand, for people and for CI.
//
// [Main] is the whole program as a function. Results go to stdout, as a table,
// JSON or YAML; talk goes to stderr. One function, explain, turns every error
// into a message, a hint and an exit code. The layer called journal sits
// between the engine and its ports and notes what was written, so that a
// command reports what happened and not what was planned; in a dry run the
// same layer refuses to write.
package cli
