package githost

import "net/http"

// Host is a kind of git host.
type Host string

// The hosts that are known.
const (
	GitHub          Host = "github"
	GitLab          Host = "gitlab"
	Gitea           Host = "gitea" // and Forgejo
	BitbucketCloud  Host = "bitbucket-cloud"
	BitbucketServer Host = "bitbucket-server" // and Data Center
)

// Kind is what an event means here.
type Kind string

// Kinds of events.
const (
	// Push: refs were created, moved or deleted.
	Push Kind = "push"
	// Ping: the host tries the webhook.
	Ping Kind = "ping"
	// Other events are none of our business.
	Other Kind = "other"
)

// identify tells by the event's header who sends what; an empty host is none
// that is known. Hosts that sign come before GitLab, whose token would be the
// weaker proof. Gitea comes before GitHub, because it sends GitHub's headers too.
func identify(header http.Header) (host Host, event string) {
	for _, name := range []string{"X-Gitea-Event", "X-Forgejo-Event"} {
		if event = header.Get(name); event != "" {
			return Gitea, event
		}
	}
	if event = header.Get("X-GitHub-Event"); event != "" {
		return GitHub, event
	}
	if event = header.Get("X-Event-Key"); event != "" {
		if header.Get("X-Hook-UUID") != "" || header.Get("X-Request-UUID") != "" {
			return BitbucketCloud, event
		}
		return BitbucketServer, event
	}
	if event = header.Get("X-Gitlab-Event"); event != "" {
		return GitLab, event
	}
	return "", ""
}

// systemHook is the event of GitLab's hooks for a whole instance; what happened
// is in the body.
const systemHook = "System Hook"

// kind is what an event means, as far as its name tells.
func kind(host Host, event string) Kind {
	pushes := map[Host][]string{
		GitHub: {"push"}, Gitea: {"push"}, GitLab: {"Push Hook", "Tag Push Hook", systemHook},
		BitbucketCloud: {"repo:push"}, BitbucketServer: {"repo:refs_changed"},
	}
	for _, push := range pushes[host] {
		if event == push {
			return Push
		}
	}
	if event == "ping" || event == "diagnostics:ping" {
		return Ping
	}
	return Other
}

// deliveryID is the id that the host gave a delivery, or "". GitLab's
// X-Gitlab-Event-UUID is not one: the events that a webhook leads to share it,
// so it would make a push look like the one before it.
func deliveryID(host Host, header http.Header) string {
	names := map[Host][]string{
		GitHub: {"X-GitHub-Delivery"}, Gitea: {"X-Gitea-Delivery", "X-Forgejo-Delivery"}, GitLab: {"Idempotency-Key"},
		BitbucketCloud: {"X-Request-UUID"}, BitbucketServer: {"X-Request-Id"},
	}
	for _, name := range names[host] {
		if id := header.Get(name); id != "" {
			return id
		}
	}
	return ""
}
