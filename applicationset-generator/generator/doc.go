// Package generator answers Argo CD's ApplicationSet plugin generator: one
// parameter set for every Application that the environments of a pipeline have
// been promoted to.
//
// The answer follows from git alone: an environment's branch names a snapshot,
// the snapshot's lock lists its applications, its configuration their
// destinations. An answer is complete or it is an error; an error makes Argo CD
// keep every Application it has, an empty or shorter list would delete them.
package generator
