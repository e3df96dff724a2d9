package githost

import (
	"encoding/json"
	"errors"
	"slices"
)

// push is what a body says about a push.
type push struct {
	repositories []string
	path         string
	refs         []string
}

// errNoRepository: there is nothing that could be woken.
var errNoRepository = errors.New("the push names no repository")

// decode reads what a sieve kept of a push. A body that names no refs is not
// wrong: nothing was pushed.
func decode(host Host, event string, text []byte) (push, error) {
	decoders := map[Host]func([]byte) (push, error){
		GitHub: decodeGitHub, Gitea: decodeGitHub, BitbucketCloud: decodeBitbucketCloud, BitbucketServer: decodeBitbucketServer,
		GitLab: func(text []byte) (push, error) { return decodeGitLab(event, text) },
	}
	p, err := decoders[host](text)
	if err != nil {
		return push{}, err
	}
	p.repositories, p.refs = distinct(p.repositories), distinct(p.refs)
	if len(p.refs) > 0 && len(p.repositories) == 0 && p.path == "" {
		return push{}, errNoRepository
	}
	return p, nil
}

// distinct leaves out what is empty or there already.
func distinct(all []string) []string {
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

// decodeGitHub is for Gitea as well, which has the same fields. Homepage,
// website and mirror are addresses that people fill in.
func decodeGitHub(text []byte) (push, error) {
	var body struct {
		Ref        string `json:"ref"`
		Repository struct {
			Clone string `json:"clone_url"`
			SSH   string `json:"ssh_url"`
			Git   string `json:"git_url"`
			HTML  string `json:"html_url"`
			SVN   string `json:"svn_url"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return push{}, err
	}
	r := body.Repository
	return push{refs: []string{body.Ref}, repositories: []string{r.Clone, r.SSH, r.Git, r.HTML, r.SVN}}, nil
}

// decodeGitLab reads the hooks of projects and groups, and those of an instance,
// which report much else.
func decodeGitLab(event string, text []byte) (push, error) {
	type addresses struct {
		GitHTTP string `json:"git_http_url"`
		GitSSH  string `json:"git_ssh_url"`
		HTTP    string `json:"http_url"`
		SSH     string `json:"ssh_url"`
		Web     string `json:"web_url"`
		URL     string `json:"url"`
	}
	var name struct {
		Event string `json:"event_name"`
	}
	if err := json.Unmarshal(text, &name); err != nil {
		return push{}, err
	}
	if event == systemHook && !slices.Contains([]string{"push", "tag_push", "repository_update"}, name.Event) {
		return push{}, nil // and its fields may be others
	}
	var body struct {
		Ref        string    `json:"ref"`
		Refs       []string  `json:"refs"` // of repository_update
		Project    addresses `json:"project"`
		Repository addresses `json:"repository"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return push{}, err
	}
	p := push{refs: append(body.Refs, body.Ref)}
	for _, a := range []addresses{body.Project, body.Repository} {
		p.repositories = append(p.repositories, a.GitHTTP, a.GitSSH, a.HTTP, a.SSH, a.Web, a.URL)
	}
	return p, nil
}

// decodeBitbucketCloud finds one address; those to clone from are the same but
// for their form.
func decodeBitbucketCloud(text []byte) (push, error) {
	type ref struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	var body struct {
		Push struct {
			Changes []struct {
				New *ref `json:"new"`
				Old *ref `json:"old"`
			} `json:"changes"`
		} `json:"push"`
		Repository struct {
			Links struct {
				HTML struct {
					Href string `json:"href"`
				} `json:"html"`
			} `json:"links"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return push{}, err
	}
	p := push{repositories: []string{body.Repository.Links.HTML.Href}}
	for _, change := range body.Push.Changes {
		moved := change.New
		if moved == nil { // deleted
			moved = change.Old
		}
		if moved == nil || moved.Name == "" {
			continue
		}
		folder := "refs/heads/"
		if moved.Type == "tag" {
			folder = "refs/tags/"
		}
		p.refs = append(p.refs, folder+moved.Name)
	}
	return p, nil
}

// decodeBitbucketServer knows that some versions leave out the addresses.
func decodeBitbucketServer(text []byte) (push, error) {
	var body struct {
		Changes []struct {
			RefID string `json:"refId"`
		} `json:"changes"`
		Repository struct {
			Slug    string `json:"slug"`
			Project struct {
				Key string `json:"key"`
			} `json:"project"`
			Links struct {
				Clone []struct {
					Href string `json:"href"`
				} `json:"clone"`
			} `json:"links"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return push{}, err
	}
	var p push
	for _, change := range body.Changes {
		p.refs = append(p.refs, change.RefID)
	}
	for _, link := range body.Repository.Links.Clone {
		p.repositories = append(p.repositories, link.Href)
	}
	if r := body.Repository; len(r.Links.Clone) == 0 && r.Project.Key != "" && r.Slug != "" {
		p.path = r.Project.Key + "/" + r.Slug
	}
	return p, nil
}
