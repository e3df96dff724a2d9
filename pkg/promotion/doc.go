// Package promotion is the engine: it decides what has to happen to a pipeline
// and makes it happen.
//
// It is level-triggered. [Engine.Observe] reads the truth (refs, ledgers, the
// Applications that Argo CD reports), [Plan] is a pure function from that
// state to the steps that are due and the reasons for what is not, and
// [Engine.Reconcile] executes step by step, observing again after each. Events
// only decide when to look; nothing is remembered between two looks, so a
// process may be killed, an event lost or doubled, and two engines may run at
// once.
//
// Every step ends in one atomic push, and everything the push makes visible is
// in place before it: images are mirrored and verified first, then the tag and
// the environment's branch move together, by compare-and-swap. A push that
// loses the race is planned again.
//
// The package knows ports (gitrepo, registry, [Applications]), not products.
package promotion
