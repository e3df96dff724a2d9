package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fleeting-taas/propagator/notifications-hook/hook"
	"github.com/fleeting-taas/propagator/pkg/gitrepo"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	"github.com/fleeting-taas/propagator/pkg/snapshot"
)

// patience bounds how long the story waits for one thing to happen.
const patience = 60 * time.Second

// look is how often it looks.
const look = 20 * time.Millisecond

// play tells the story. Every chapter waits for what the suite does by itself.
func (w *world) play(ctx context.Context) error {
	steps := []struct {
		title string
		do    func(context.Context) (detail string, err error)
	}{
		{"the shop's images are in the dev registry, its manifests on main", w.begin},
		{"CI builds two services and writes their tags to main", func(ctx context.Context) (string, error) {
			return w.bump(ctx, 0, 2)
		}},
		{"Argo CD syncs Dev; a snapshot is taken, mirrored and promoted to Stage", func(ctx context.Context) (string, error) {
			return w.captured(ctx, w.version(1))
		}},
		{"Stage is rendered from the snapshot, synced and healthy", func(ctx context.Context) (string, error) {
			return w.deployed(ctx, "stage", w.version(1))
		}},
		{"the dev registry is switched off", w.switchOff},
		{"Prod waits for an approval; alice approves", func(ctx context.Context) (string, error) {
			return w.approve(ctx, w.version(1), "alice")
		}},
		{"Prod is mirrored from Stage, rendered, synced and healthy", func(ctx context.Context) (string, error) {
			return w.deployed(ctx, "prod", w.version(1))
		}},
		{"the dev registry is back; CI builds the other two", func(ctx context.Context) (string, error) {
			w.switchOn()
			return w.bump(ctx, 2, 4)
		}},
		{"the second snapshot reaches Stage", func(ctx context.Context) (string, error) {
			if _, err := w.captured(ctx, w.version(2)); err != nil {
				return "", err
			}
			return w.deployed(ctx, "stage", w.version(2))
		}},
		{"bob approves; it reaches Prod", func(ctx context.Context) (string, error) {
			if _, err := w.approve(ctx, w.version(2), "bob"); err != nil {
				return "", err
			}
			return w.deployed(ctx, "prod", w.version(2))
		}},
		{"three people push hotfixes; two become a patch, which reaches Stage, and one conflicts", func(ctx context.Context) (string, error) {
			return w.fixed(ctx, w.patch(2, 1))
		}},
		{"bob approves the patch; it reaches Prod", func(ctx context.Context) (string, error) {
			if _, err := w.approve(ctx, w.patch(2, 1), "bob"); err != nil {
				return "", err
			}
			return w.deployed(ctx, "prod", w.patch(2, 1))
		}},
		{"CI's next release lacks the fixes; Stage does not take it", func(ctx context.Context) (string, error) {
			return w.lost(ctx, w.version(3))
		}},
		{"the fixes are brought to main, the third is dropped; the release after that enters Stage", func(ctx context.Context) (string, error) {
			return w.broughtBack(ctx, w.version(4))
		}},
		{"Prod needs one more fix at once; Stage lets it pass", func(ctx context.Context) (string, error) {
			return w.lane(ctx, w.patch(2, 2))
		}},
		{"carol approves; it reaches Prod, and Stage returns to its release, with the fix", func(ctx context.Context) (string, error) {
			return w.returned(ctx, w.patch(2, 2), w.patch(4, 1))
		}},
		{"CI builds a broken service; Stage is not healthy, so Prod does not get it; alice rejects it", func(ctx context.Context) (string, error) {
			return w.broken(ctx, w.version(5))
		}},
		{"the correction reaches Stage, although no notification is sent", func(ctx context.Context) (string, error) {
			return w.corrected(ctx, w.version(6))
		}},
		{"Prod is rolled back, and automation leaves it there", func(ctx context.Context) (string, error) {
			return w.rollBack(ctx, "prod", w.version(1))
		}},
	}
	for i, step := range steps {
		begin := time.Now()
		w.progress.begin(i+1, len(steps), step.title)
		detail, err := step.do(ctx)
		if err == nil {
			err = w.argo.failed()
		}
		if err != nil {
			w.progress.failed()
			return fmt.Errorf("%s: %w", step.title, err)
		}
		took := time.Since(begin)
		w.progress.done(detail, took)
		w.report.Story = append(w.report.Story, Chapter{Title: step.title, Detail: detail, Milliseconds: took.Milliseconds()})
	}
	return nil
}

// version is the nth snapshot that is taken from Dev.
func (w *world) version(n int) snapshot.Version {
	return snapshot.Version{Pipeline: w.ci.pipeline.Name, Minor: n}
}

func (w *world) begin(ctx context.Context) (string, error) {
	if err := w.ci.look(ctx); err != nil {
		return "", err
	}
	w.argo.pipeline = w.ci.pipeline.Name
	if err := w.ci.publish(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d images for linux/amd64 and linux/arm64", len(w.ci.artifacts)), nil
}

// bump releases some of the services.
func (w *world) bump(ctx context.Context, from, to int) (string, error) {
	var own []string
	for _, s := range w.ci.artifacts {
		if s.own {
			own = append(own, s.name())
		}
	}
	// With few services, every release builds the last one.
	from = min(from, max(len(own)-1, 0))
	names := own[from:min(to, len(own))]
	if err := w.ci.release(ctx, names...); err != nil {
		return "", err
	}
	commit, _, err := w.ci.tip(ctx)
	return fmt.Sprintf("commit %s: %s", commit.Short(), strings.Join(names, ", ")), err
}

// captured lets Argo CD sync Dev and waits until the snapshot is in Stage.
func (w *world) captured(ctx context.Context, version snapshot.Version) (string, error) {
	if err := w.argo.syncFirst(ctx, w.ci.pipeline); err != nil {
		return "", err
	}
	var entry snapshot.Entry
	err := w.wait(ctx, fmt.Sprintf("snapshot %s in stage", version), func(ctx context.Context) (done bool, err error) {
		entry, err = w.ledger(ctx, "stage")
		return entry.Snapshot == version, err
	})
	return fmt.Sprintf("%s of %s", version, entry.SourceCommit.Short()), err
}

// deployed waits until Argo CD runs the version and the ledger says so.
func (w *world) deployed(ctx context.Context, environment string, version snapshot.Version) (string, error) {
	err := w.wait(ctx, fmt.Sprintf("%s deployed to %s", version, environment), func(ctx context.Context) (bool, error) {
		entry, err := w.ledger(ctx, environment)
		return entry.Snapshot == version && !entry.Deployed.IsZero(), err
	})
	if err != nil {
		return "", err
	}
	running := w.argo.running(environment, version)
	images := map[string]bool{}
	for _, list := range running {
		for _, image := range list {
			images[image] = true
		}
	}
	return fmt.Sprintf("%d Applications, %d images by digest", len(running), len(images)), nil
}

// broken releases something that does not become healthy in Stage. It waits until
// the hook says so, and lets a person reject it.
func (w *world) broken(ctx context.Context, version snapshot.Version) (string, error) {
	w.argo.set(func() { w.argo.sick = "stage" })
	if _, err := w.bump(ctx, 0, 1); err != nil {
		return "", err
	}
	if _, err := w.captured(ctx, version); err != nil {
		return "", err
	}
	var seen promotion.Wait
	err := w.wait(ctx, "reason why "+version.String()+" is not deployed", func(ctx context.Context) (bool, error) {
		answer, err := w.argo.ask(ctx, http.MethodGet, w.argo.hookURL+"/api/v1/status", nil, http.StatusOK)
		if err != nil {
			return false, err
		}
		var all []hook.Status
		if err := json.Unmarshal(answer, &all); err != nil || len(all) == 0 {
			return false, err
		}
		for _, wait := range all[0].Waits {
			if wait.Environment == "stage" && wait.Version == version.String() && strings.Contains(wait.Detail, "Degraded") {
				seen = wait
			}
		}
		return seen.Reason != "", nil
	})
	if err != nil {
		return "", err
	}
	state, err := w.person.Observe(ctx)
	if err != nil {
		return "", err
	}
	prod, _ := state.Environment("prod")
	if prod.Current().Snapshot == version {
		return "", fmt.Errorf("prod has %s, which was never healthy in stage", version)
	}
	step, err := promotion.PlanNote(state, "stage", promotion.Note{Event: snapshot.EventReject, Version: version, Reason: "it does not become healthy"})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s", seen.Reason, seen.Detail), w.person.Execute(ctx, state, step)
}

// corrected releases something healthy while Argo CD's notifications controller
// does not work: the hook finds out by looking.
func (w *world) corrected(ctx context.Context, version snapshot.Version) (string, error) {
	w.argo.set(func() { w.argo.sick, w.argo.silent = "", true })
	defer w.argo.set(func() { w.argo.silent = false })
	if _, err := w.bump(ctx, 1, 2); err != nil {
		return "", err
	}
	if _, err := w.captured(ctx, version); err != nil {
		return "", err
	}
	return w.deployed(ctx, "stage", version)
}

func (w *world) switchOff(context.Context) (string, error) {
	w.registries["dev"].SetAvailable(false)
	w.mark("dev off")
	return w.registries["dev"].name, nil
}

func (w *world) switchOn() {
	w.mark("dev on")
	w.registries["dev"].SetAvailable(true)
}

// approve waits until Prod asks for an approval, and gives it: an
// annotated tag on the snapshot, as git tag -a makes it.
func (w *world) approve(ctx context.Context, version snapshot.Version, who string) (string, error) {
	var state *promotion.State
	err := w.wait(ctx, "a request for approval", func(ctx context.Context) (done bool, err error) {
		if state, err = w.person.Observe(ctx); err != nil {
			return false, err
		}
		at, found := state.Environment("prod")
		if !found || state.Tags[version] == "" {
			return false, nil
		}
		asked, proven := false, true
		for _, f := range promotion.Explain(state, at, version) {
			asked = asked || f.Reason == promotion.ApprovalMissing
			proven = proven && f.Reason != promotion.NotValidated
		}
		return asked && proven, nil
	})
	if err != nil {
		return "", err
	}
	name := "approve/prod/" + version.String() + "/" + who
	tag := gitrepo.NewTag(gitrepo.Tag{
		Object: state.Tags[version], Type: gitrepo.TypeCommit, Name: name,
		Tagger:  gitrepo.Signature{Name: who, Email: who + "@shop.example", When: w.now()},
		Message: "tested in stage\n",
	})
	push := gitrepo.Push{Updates: []gitrepo.Update{{Ref: gitrepo.Tags + name, New: tag.ID()}}, Objects: []gitrepo.Object{tag}}
	if err := w.ci.repo.Push(ctx, push); err != nil {
		return "", err
	}
	return "tag " + name, w.webhook(ctx)
}

// webhook is what the git host sends after a push.
func (w *world) webhook(ctx context.Context) error {
	_, err := w.argo.post(ctx, w.argo.hookURL+"/api/v1/wake", nil, http.StatusAccepted)
	return err
}

// rollBack goes back by hand, waits until that is deployed, and makes sure
// that the hook does not move forward again.
func (w *world) rollBack(ctx context.Context, environment string, version snapshot.Version) (string, error) {
	state, err := w.person.Observe(ctx)
	if err != nil {
		return "", err
	}
	step, err := promotion.PlanRequest(state, promotion.Request{
		Environment: environment, Version: version, Rollback: true, Reason: "payments time out since " + w.patch(2, 2).Number(),
	})
	if err != nil {
		return "", err
	}
	if err := w.person.Execute(ctx, state, step); err != nil {
		return "", err
	}
	if err := w.webhook(ctx); err != nil {
		return "", err
	}
	if _, err := w.deployed(ctx, environment, version); err != nil {
		return "", err
	}
	if state, err = w.person.Observe(ctx); err != nil {
		return "", err
	}
	for _, wait := range promotion.Plan(state).Waits {
		if wait.Environment == environment && wait.Reason == promotion.EnvOnHold {
			return wait.Detail, nil
		}
	}
	return "", errors.New("automation would move the environment forward again")
}

// ledger reads the newest entry of an environment.
func (w *world) ledger(ctx context.Context, environment string) (snapshot.Entry, error) {
	e, ok := w.ci.pipeline.Environment(environment)
	if !ok {
		return snapshot.Entry{}, fmt.Errorf("the repository has no environment %s; the story needs dev, stage and prod", environment)
	}
	refs, err := w.ci.repo.Refs(ctx, gitrepo.Heads+e.Branch)
	if err != nil {
		return snapshot.Entry{}, err
	}
	tip := refs[gitrepo.Heads+e.Branch]
	if tip == "" {
		return snapshot.Entry{}, nil
	}
	if err := w.ci.repo.Fetch(ctx, []gitrepo.Hash{tip}, gitrepo.FetchOptions{Depth: 1, CommitsOnly: true}); err != nil {
		return snapshot.Entry{}, err
	}
	w.sawTip(environment, tip)
	return snapshot.ReadEntry(w.ci.repo, tip)
}

// wait looks until a condition holds.
func (w *world) wait(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	bounded, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no %s after %s", what, patience))
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		done, err := condition(bounded)
		if bounded.Err() != nil {
			return context.Cause(bounded)
		}
		if err == nil {
			err = w.argo.failed()
		}
		if done || err != nil {
			return err
		}
		select {
		case <-bounded.Done():
			return context.Cause(bounded)
		case <-ticker.C:
		}
	}
}
