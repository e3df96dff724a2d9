// Package gate has the checks that a promotion may have to pass beside the rules
// of the engine: times (window, freeze), what others answer (prometheus, http)
// and what is true of images (signatures). Which of them an environment has is
// said in propagator.yaml (package config); package promotion asks them, and
// package extension adds those that are programs of somebody else.
//
// A gate never errs in favour of a promotion: whatever it cannot find out is
// [Unknown], which waits like [Wait] and is told apart for the person who reads
// it.
package gate

import (
	"context"
	"time"

	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// Result is a verdict in one word.
type Result string

// The results. Only Pass lets a promotion through.
const (
	Pass Result = "pass"
	// Wait: not now, and later perhaps.
	Wait Result = "wait"
	// Refuse: not this snapshot, until somebody changes something about it.
	Refuse Result = "refuse"
	// Unknown: it could not be found out, for instance because nobody answered.
	Unknown Result = "unknown"
)

// Verdict is what a gate says about a promotion at one moment.
type Verdict struct {
	Result Result
	// Detail is one line for a person: what was found, and what was expected. It
	// never has a secret in it.
	Detail string
	// Until is when the verdict can be another one at the earliest, as far as
	// time alone decides; zero otherwise.
	Until time.Time
}

// Subject is the promotion that a gate judges: one snapshot into one environment.
type Subject struct {
	Pipeline    string
	Environment string
	Version     snapshot.Version
	// Commit is the snapshot's commit, SourceCommit the commit it was made of;
	// both are full ids.
	Commit       string
	SourceCommit string
	// Images are those that the environment will run.
	Images []Image
	// Now is the time to judge by.
	Now time.Time
}

// Image is one image of a [Subject].
type Image struct {
	// Requested is the reference as the manifests write it.
	Requested string
	// Reference is where the image is now, by digest: the registry of the
	// environment before.
	Reference string
	Digest    string
	// Name is that of the repository that Requested means, with its host:
	// docker.io/library/redis. Own tells that the host is a registry of the
	// pipeline. Repo is the repository in the registry of Reference.
	Name string
	Own  bool
	Repo string
}

// Gate judges promotions. Its methods may be called concurrently.
type Gate interface {
	// Judge never returns Pass after the context has ended.
	Judge(ctx context.Context, s Subject) Verdict
}
