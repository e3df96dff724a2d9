package generator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// source follows one repository.
type source struct {
	open      gitrepo.Opener
	branch    string
	publicURL string
	renderer  string
	log       *slog.Logger

	// repo and loads belong to the load that is under way; url never changes.
	repo  gitrepo.Repo
	loads int
	url   string

	idle sync.WaitGroup // zero while no load is under way

	mu  sync.Mutex // guards the fields below
	now state
	// running is closed when the load that is under way ends; next is the one
	// that those wait for who came while it was running, because it may have
	// read the refs before the change they ask about.
	running, next chan struct{}
}

// state is what is known of a repository.
type state struct {
	// last is the newest good state; nil until the first load succeeds.
	last     *exposure
	loadedAt time.Time
	// err is why the newest load did not give a new state.
	err error
}

func (s *source) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// refresh starts a load that begins after the call, or joins one that will,
// and returns a channel that closes when it has ended.
func (s *source) refresh(ctx context.Context) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = make(chan struct{})
		s.idle.Go(func() { s.run(ctx) })
		return s.running
	}
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// run loads until nobody waits for another one.
func (s *source) run(ctx context.Context) {
	for {
		s.reopen(ctx)
		loaded, err := s.load(ctx)
		s.mu.Lock()
		if err == nil {
			err = checkShrink(s.now.last, loaded)
		}
		if err == nil {
			loaded.keep(s.now.last)
			s.now.last, s.now.loadedAt = loaded, time.Now()
			if loaded.fault != nil {
				s.log.WarnContext(ctx, "configuration cannot be used; that of the newest snapshot is", "repository", s.url, "error", loaded.fault)
			}
		} else if ctx.Err() == nil {
			log := s.log
			if errors.Is(err, gitrepo.ErrUnauthorized) {
				log = log.With("hint", unauthorizedHint)
			}
			log.WarnContext(ctx, "repository could not be read; requests are refused until it can be", "repository", s.url, "error", err)
		}
		s.now.err = err
		close(s.running)
		s.running, s.next = s.next, nil
		again := s.running != nil
		s.mu.Unlock()
		if !again {
			return
		}
	}
}

// unauthorizedHint is what to do when the Git host refuses us.
const unauthorizedHint = "give the generator a password or key that the Git host accepts (--git-password-file, which is read anew, or --git-ssh-key and a restart; as installed: Secret propagator-git-read); propagator doctor --only git tells whether it will do"

// reopenAfter is how many loads use one view of the repository, which keeps
// all that it fetched in memory.
const reopenAfter = 1000

// reopen forgets what was fetched, now and then.
func (s *source) reopen(ctx context.Context) {
	s.loads++
	if s.loads%reopenAfter != 0 {
		return
	}
	repo, err := s.open()
	if err != nil {
		s.log.WarnContext(ctx, "repository cannot be opened anew; going on with the old view", "repository", s.url, "error", err)
		return
	}
	s.repo = repo
}
