// Package hook runs the promotion engine for one or more pipelines: Argo CD's
// notifications wake it, a periodic tick makes sure that nothing depends on
// them.
//
// An event carries no decision. The hook answers it at once, notes which
// pipelines it may concern and reads the truth itself: refs, Applications,
// registries. A lost event costs at most one tick, a doubled one costs
// nothing, and a pipeline is never worked on twice at a time in one process.
package hook
