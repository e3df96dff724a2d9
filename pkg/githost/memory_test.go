package githost

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepeated(t *testing.T) {
	other := strings.Replace(githubBody, "refs/heads/main", "refs/heads/next", 1)
	type sent struct {
		body    string
		headers []map[string]string
	}
	github := func(body, id string) sent {
		return sent{body, []map[string]string{githubPush, hub256(secret, body), {"X-GitHub-Delivery": id}}}
	}
	gitlab := func(body, id string) sent {
		return sent{body, []map[string]string{gitlabPush, {"X-Gitlab-Token": secret, "Idempotency-Key": id}}}
	}
	signed := func(id string) sent {
		return sent{gitlabBody, []map[string]string{gitlabPush, standard(newer, id, now, gitlabBody), {"Idempotency-Key": id}}}
	}
	for _, test := range []struct {
		name          string
		first, second sent
		want          bool
	}{
		{"the same", github(githubBody, "1"), github(githubBody, "1"), true},
		{"with another id, which is not signed", github(githubBody, "1"), github(githubBody, "2"), true},
		{"without its id", github(githubBody, "1"), github(githubBody, ""), true},
		{"as another host's", github(githubBody, "1"), sent{githubBody, []map[string]string{giteaPush, gitea(secret, githubBody)}}, true},
		{"written anew under the same id", github(githubBody, "1"), github(githubBody+" ", "1"), true},
		{"another push", github(githubBody, "1"), github(other, "2"), false},
		{"another push without ids", github(githubBody, ""), github(other, ""), false},
		{"GitLab's next push in a chain of events", gitlab(gitlabBody, "1"), gitlab(gitlabBody+" ", "2"), false},
		{"GitLab's next try", gitlab(gitlabBody, "1"), gitlab(gitlabBody+" ", "1"), true},
		{"a signed id", signed("1"), signed("1"), true},
		{"the same commits pushed again under another signed id", signed("1"), signed("2"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, m := newVerifier(t), NewMemory()
			var got [2]bool
			for i, s := range []sent{test.first, test.second} {
				d, err := v.Receive(request(t, s.body, s.headers...))
				if err != nil {
					t.Fatal(err)
				}
				got[i] = m.Repeated(d)
			}
			if got != [2]bool{false, test.want} {
				t.Errorf("repeated: %v", got)
			}
		})
	}
}

func numbered(n int) Delivery {
	return Delivery{marks: marks(GitHub, nil, proof{}, []byte(strconv.Itoa(n)))}
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		m.size = 10
		for i := range 100 {
			if m.Repeated(numbered(i)) {
				t.Errorf("%d repeated", i)
			}
		}
		if len(m.known) != 10 || len(m.queue) != 10 || cap(m.queue) > 100 {
			t.Errorf("%d known, %d of %d in the queue", len(m.known), len(m.queue), cap(m.queue))
		}
		if !m.Repeated(numbered(90)) || m.Repeated(numbered(89)) {
			t.Error("not the oldest was forgotten")
		}
		time.Sleep(RememberedFor - time.Second)
		if !m.Repeated(numbered(99)) {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		if m.Repeated(numbered(99)) || len(m.known) != 1 {
			t.Errorf("not forgotten in time; %d known", len(m.known))
		}
		for range 2 {
			if m.Repeated(Delivery{}) {
				t.Error("nothing repeated")
			}
		}
	})
}

// TestOneOfMany: of one delivery that comes many times at a time, one is the
// first.
func TestOneOfMany(t *testing.T) {
	m, firsts := NewMemory(), make(chan bool, 50)
	for range cap(firsts) {
		go func() { firsts <- !m.Repeated(numbered(1)) }()
	}
	n := 0
	for range cap(firsts) {
		if <-firsts {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d are the first", n)
	}
}
