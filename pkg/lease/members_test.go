package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const period = lifetime / renewals

func TestNew(t *testing.T) {
	good := Config{Leases: client(t, http.DefaultTransport), Identity: "hook-1", Group: group}
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no client", func(c *Config) { c.Leases = nil }, "no client for Leases"},
		{"no name", func(c *Config) { c.Identity = "" }, "a member needs a name"},
		{"name of a host", func(c *Config) { c.Identity = "My_Laptop" }, `"My_Laptop" cannot be a member's name, because "propagator-hook-My_Laptop" cannot be a Lease's`},
		{"path for a name", func(c *Config) { c.Identity = "../secrets/x" }, "cannot be a member's name"},
		{"long name", func(c *Config) { c.Identity = strings.Repeat("x", 250) }, "cannot be a member's name"},
		{"no group", func(c *Config) { c.Group = "" }, "cannot be a group's name"},
		{"group of words", func(c *Config) { c.Group = "a b" }, `"a b" cannot be a group's name`},
		{"group that selects others", func(c *Config) { c.Group = "a,b=c" }, "cannot be a group's name"},
		{"short", func(c *Config) { c.Lifetime = time.Millisecond }, "the lifetime is 1ms; it must be a second at least"},
		{"negative", func(c *Config) { c.Lifetime = -time.Second }, "the lifetime is -1s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %s", err, test.says)
			}
		})
	}
	m, err := New(good)
	if err != nil || m.config.Lifetime != DefaultLifetime || !m.Owns("anything") {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestLease: what people and other members find.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		m := join(t, s, "hook-a", nil)
		synctest.Wait()
		first := s.lease("propagator-hook-hook-a")
		if first.Labels["app.kubernetes.io/part-of"] != "propagator" || first.Labels["propagator.dev/group"] != group || first.Namespace != "" && first.Namespace != namespace {
			t.Errorf("%+v", first.ObjectMeta)
		}
		if *first.Spec.HolderIdentity != "hook-a" || *first.Spec.LeaseDurationSeconds != 30 || !first.Spec.RenewTime.Time.Equal(time.Now()) {
			t.Errorf("%+v", first.Spec)
		}
		// What somebody else writes into it is kept, and no reason to stop.
		first.Annotations = map[string]string{"note": "mine"}
		s.add(first)
		pass(period)
		second := s.lease("propagator-hook-hook-a")
		if second.Annotations["note"] != "mine" || !second.Spec.RenewTime.After(first.Spec.RenewTime.Time) || !second.Spec.AcquireTime.Equal(first.Spec.AcquireTime) {
			t.Errorf("%+v", second)
		}
		if n := s.count(""); n > 8 {
			t.Errorf("%d requests in %s", n, period)
		}
		m.stop()
		if names := s.names(); len(names) > 0 {
			t.Errorf("left behind: %v", names)
		}
	})
}

// shared checks that each key has exactly one owner, and everybody names it.
func shared(t *testing.T, members ...*member) {
	t.Helper()
	for _, key := range keys(50) {
		owners := 0
		first, _ := members[0].Owner(key)
		for _, m := range members {
			name, own := m.Owner(key)
			if name != first || own != (name == m.config.Identity) {
				t.Errorf("%s: %s names %s, another %s", key, m.config.Identity, name, first)
			}
			if own {
				owners++
			}
		}
		if owners != 1 {
			t.Errorf("%s has %d owners", key, owners)
		}
	}
}

// TestJoinAndLeave: a newcomer is known within a period, and so is a goodbye.
func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a := join(t, s, "hook-a", nil)
		pass(time.Second)
		if n := owned(a, keys(50)); n != 50 || a.tolds() != 0 {
			t.Errorf("alone it owns %d of 50, told %d times", n, a.tolds())
		}
		b, c := join(t, s, "hook-b", nil), join(t, s, "hook-c", nil)
		pass(0)
		if owned(b, keys(50)) != 50 || owned(c, keys(50)) != 50 {
			t.Error("a newcomer leaves work to one that it has not seen alive")
		}
		pass(2 * period)
		shared(t, a, b, c)
		told := a.tolds()
		if told == 0 || told > 2 || b.tolds() == 0 {
			t.Errorf("told %d and %d times", told, b.tolds())
		}
		pass(10 * lifetime)
		shared(t, a, b, c)
		if a.tolds() != told {
			t.Errorf("told %d times, and nothing changed", a.tolds()-told)
		}
		b.stop()
		pass(period)
		shared(t, a, c)
		c.stop()
		pass(period)
		shared(t, a)
		if a.tolds() != told+2 {
			t.Errorf("told %d times of two that left", a.tolds()-told)
		}
	})
}

// TestKilled: what a member owned that went without a goodbye has an owner
// within the bound, who is told in time, and its Lease is deleted later.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a, b := join(t, s, "hook-a", nil), join(t, s, "hook-b", nil)
		pass(time.Minute + time.Second)
		b.kill()
		pass(lifetime - period - time.Second)
		if owned(a, keys(50)) == 50 {
			t.Error("taken over before its lifetime was over")
		}
		before := a.tolds()
		pass(Bound(lifetime) - (lifetime - period - time.Second))
		shared(t, a)
		if a.tolds() != before+1 {
			t.Errorf("told %d times of it", a.tolds()-before)
		}
		if names := s.names(); len(names) != 2 {
			t.Errorf("Leases: %v", names)
		}
		pass(stale * lifetime)
		if diff := cmp.Diff([]string{"propagator-hook-hook-a"}, s.names()); diff != "" {
			t.Errorf("Leases (-want +got):\n%s", diff)
		}
	})
}

// TestOnlyTheDeadAreBuried: a Lease of another group too, one that is renewed at
// the last moment not, and nothing that is not ours.
func TestOnlyTheDeadAreBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		named := func(name, group string) coordinationv1.Lease {
			return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid", Labels: map[string]string{labelPartOf: partOf, LabelGroup: group}}}
		}
		foreign := named("argocd-applicationset-controller", group)
		foreign.Labels = map[string]string{LabelGroup: group}
		s.add(foreign)
		s.add(named("somebody-elses", group))
		s.add(named(NamePrefix, group))
		s.add(named(NamePrefix+"old-config", "other"))
		s.add(named(NamePrefix+"late", group))
		// The Lease is renewed between the look and the deletion.
		l := &link{server: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/"+NamePrefix+"late") {
				s.add(s.lease(NamePrefix + "late"))
			}
			s.ServeHTTP(w, r)
		})}
		m := join(t, s, "hook-a", func(c *Config) { c.Leases = client(t, l) })
		pass(stale*lifetime - time.Second)
		if n := s.count("delete"); n > 0 {
			t.Errorf("%d deleted too early", n)
		}
		pass(2 * time.Second)
		want := []string{"argocd-applicationset-controller", NamePrefix, NamePrefix + "hook-a", NamePrefix + "late", "somebody-elses"}
		if diff := cmp.Diff(want, s.names()); diff != "" {
			t.Errorf("Leases (-want +got):\n%s", diff)
		}
		pass(period)
		if alive, _ := m.alive(); !cmp.Equal(alive, []string{"hook-a", "late"}) {
			t.Errorf("alive: %v", alive)
		}
	})
}

// TestClocks: members whose clocks are hours apart, and one whose clock stands
// still.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		skewed := func(identity string, now func() time.Time) *member {
			l := &link{server: s}
			members, err := New(Config{Leases: client(t, l), Identity: identity, Group: group, Log: testLog(t)})
			if err != nil {
				t.Fatal(err)
			}
			members.now = now
			m := &member{Members: members, link: l}
			run(t, m)
			return m
		}
		a := skewed("hook-a", func() time.Time { return time.Now().Add(-7 * time.Hour) })
		b := skewed("hook-b", time.Now)
		c := skewed("hook-c", func() time.Time { return time.Now().Add(26 * time.Hour) })
		pass(2 * period)
		for range 100 {
			shared(t, a, b, c)
			pass(7 * time.Second)
		}
		c.kill() // its Lease is valid until tomorrow, it says
		pass(Bound(lifetime))
		shared(t, a, b)
		pass(stale * lifetime)
		if n := len(s.names()); n != 2 {
			t.Errorf("%d Leases", n)
		}
	})
}

// TestCutOff: a member that hears nothing for a lifetime owns everything, and
// one that is back shares again.
func TestCutOff(t *testing.T) {
	for name, state := range map[string]int{"down": down, "hung": hung, "answers lost": mute, "a proxy": broken} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				a, b := join(t, s, "hook-a", nil), join(t, s, "hook-b", nil)
				pass(time.Minute)
				shared(t, a, b)
				a.link.set(state)
				pass(period)
				shared(t, a, b) // a moment is no reason
				pass(lifetime)
				if n := owned(a, keys(50)); n != 50 {
					t.Errorf("the one that is cut off owns %d of 50", n)
				}
				pass(period)
				if n := owned(b, keys(50)); n != 50 && state != mute { // its renewals arrive
					t.Errorf("the other one owns %d of 50", n)
				}
				if got, _ := a.Owner(keys(1)[0]); got != "hook-a" {
					t.Errorf("it names %s", got)
				}
				before := a.tolds()
				a.link.set(up)
				pass(3 * period)
				shared(t, a, b)
				if a.tolds() != before+1 {
					t.Errorf("told %d times", a.tolds()-before)
				}
			})
		})
	}
}

// TestAPIServerAway: all work on everything until it is back.
func TestAPIServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		var log bytes.Buffer
		a := join(t, s, "hook-a", func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		b := join(t, s, "hook-b", nil)
		pass(time.Minute)
		log.Reset()
		a.link.set(down)
		b.link.set(down)
		pass(time.Hour)
		if owned(a, keys(50)) != 50 || owned(b, keys(50)) != 50 {
			t.Errorf("%d and %d of 50", owned(a, keys(50)), owned(b, keys(50)))
		}
		// An etcd that lost everything is no different.
		s.mu.Lock()
		clear(s.leases)
		s.mu.Unlock()
		a.link.set(up)
		b.link.set(up)
		pass(3 * period)
		shared(t, a, b)
		text := log.String()
		if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "disturbed") || strings.Count(text, "shared again") != 1 {
			t.Errorf("log:\n%s", text)
		}
	})
}

// TestForbidden: without rights a member does everything, says once what to
// allow, and shares as soon as it may.
func TestForbidden(t *testing.T) {
	for _, denied := range [][]string{{"list"}, {"get"}, {"create"}, {"update"}, {"get", "list", "create", "update", "delete"}} {
		t.Run(strings.Join(denied, " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				b := join(t, s, "hook-b", nil)
				var log bytes.Buffer
				l := &link{server: s, forbidden: denied}
				a := join(t, s, "hook-a", func(c *Config) {
					c.Leases, c.Log = client(t, l), slog.New(slog.NewTextHandler(&log, nil))
				})
				pass(4 * time.Minute) // before its Lease is taken for left over
				if n := owned(a, keys(50)); n != 50 {
					t.Errorf("it owns %d of 50", n)
				}
				text := log.String()
				if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "allow verbs get, list, create, update, delete on leases.coordination.k8s.io") {
					t.Errorf("log:\n%s", text)
				}
				l.set(up)
				pass(3 * period)
				shared(t, a, b)
				if a.stop(); strings.Count(log.String(), "level=WARN") != 1 {
					t.Errorf("log:\n%s", log.String())
				}
			})
		})
	}
}

// TestNoRightToDelete does no harm.
func TestNoRightToDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a, b := join(t, s, "hook-a", nil), join(t, s, "hook-b", nil)
		c := join(t, s, "hook-c", nil)
		pass(2 * period)
		a.link.set(up, "delete")
		b.link.set(up, "delete")
		c.kill()
		pass(2 * stale * lifetime)
		shared(t, a, b)
		b.stop()
		pass(Bound(lifetime))
		shared(t, a)
	})
}

// TestGoodbyeIsBounded: a program ends although the API server does not answer.
func TestGoodbyeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, newAPIServer(t), "hook-a", nil)
		pass(time.Minute)
		m.link.set(hung)
		pass(period + time.Second) // in the middle of a renewal
		begin := time.Now()
		m.stop()
		if took := time.Since(begin); took > leaveWithin {
			t.Errorf("it took %s", took)
		}
	})
}

// TestLeaseTakenAway: a Lease that somebody deletes is made again.
func TestLeaseTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a, b := join(t, s, "hook-a", nil), join(t, s, "hook-b", nil)
		pass(2 * period)
		if err := client(t, &link{server: s}).Delete(t.Context(), NamePrefix+"hook-a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		pass(2 * period)
		shared(t, a, b)
	})
}

// TestSameName: two processes of one name, against the rules, leave no key
// without an owner.
func TestSameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a, twin, b := join(t, s, "hook-a", nil), join(t, s, "hook-a", nil), join(t, s, "hook-b", nil)
		pass(10 * time.Minute)
		shared(t, a, b)
		twin.stop()
		pass(2 * period)
		shared(t, a, b)
	})
}

// TestGroupsAreApart: who does other work is not waited for.
func TestGroupsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		a := join(t, s, "hook-a", nil)
		b := join(t, s, "hook-b", func(c *Config) { c.Group = "bakery" })
		pass(time.Minute)
		shared(t, a)
		shared(t, b)
	})
}

// TestCrowd: more Leases than anybody reads.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		for i := range 3 * maxMembers {
			s.add(coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%scrowd-%04d", NamePrefix, i), UID: "uid", Labels: map[string]string{labelPartOf: partOf, LabelGroup: group}}})
		}
		// This server pages, a proxy before it may not.
		a, b := join(t, s, "hook-a", nil), join(t, s, "zebra", func(c *Config) {
			c.Leases = client(t, &link{server: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				query := r.URL.Query()
				query.Del("limit")
				r.URL.RawQuery = query.Encode()
				s.ServeHTTP(w, r)
			})})
		})
		pass(time.Minute)
		for _, m := range []*member{a, b} {
			m.Members.mu.Lock()
			kept := len(m.others)
			m.Members.mu.Unlock()
			if kept != maxMembers || owned(m, keys(50)) == 0 {
				t.Errorf("%d Leases kept", kept)
			}
		}
		if none, _ := orphans([]*member{a, b}, keys(50)); len(none) > 0 {
			t.Errorf("nobody owns %v", none)
		}
		// Those that come into view were not made just now.
		s.mu.Lock()
		for i := range 100 {
			delete(s.leases, fmt.Sprintf("%scrowd-%04d", NamePrefix, i))
		}
		s.mu.Unlock()
		pass(period)
		if alive, _ := a.alive(); len(alive) != 1 {
			t.Errorf("%d alive", len(alive))
		}
		// The dead make room, and the living are seen.
		pass(4 * stale * lifetime)
		shared(t, a, b)
	})
}

// TestNobodyTellsAfterTheEnd of a Run that was over before it began.
func TestNobodyTellsAfterTheEnd(t *testing.T) {
	s := newAPIServer(t)
	m, err := New(Config{Leases: client(t, &link{server: s}), Identity: "hook-a", Group: group})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the test"))
	m.Run(ctx, func() { t.Error("told") })
	if n := s.count("create"); n > 0 {
		t.Errorf("%d Leases made", n)
	}
}

// FuzzLook: whatever a server lists, this member is among the living, and their
// number is bounded.
func FuzzLook(f *testing.F) {
	f.Add([]byte(`{"kind":"LeaseList","apiVersion":"coordination.k8s.io/v1","items":[{"metadata":{"name":"propagator-hook-b","resourceVersion":"1","labels":{"propagator.dev/group":"shop"}},"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}]}`))
	f.Add([]byte(`{"kind":"LeaseList","apiVersion":"coordination.k8s.io/v1","items":[{},{"metadata":{"name":"propagator-hook-"}},{"metadata":null,"spec":null}]}`))
	f.Add([]byte(`{"kind":"LeaseList","items":null}`))
	f.Add([]byte(`{"kind":"Status","code":500}`))
	f.Add([]byte(`{`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := New(Config{Leases: client(t, &link{server: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		})}), Identity: "hook-a", Group: group})
		if err != nil {
			t.Fatal(err)
		}
		m.report(t.Context(), looking, m.look(t.Context()))
		alive, _ := m.alive()
		if len(alive) > maxMembers+1 || len(m.others) > maxMembers {
			t.Errorf("%d alive, %d kept", len(alive), len(m.others))
		}
		found := false
		for _, identity := range alive {
			found = found || identity == "hook-a"
		}
		if name, own := m.Owner("https://git.example/shop.git"); !found || own != (name == "hook-a") {
			t.Errorf("alive %v, owner %s", alive, name)
		}
	})
}
