package hook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Members are the replicas that share pipelines, as one of them sees it. They
// only save work: more than one may own a pipeline at a time, and for a while
// none.
type Members interface {
	// Run takes part until the context ends. It calls changed, which does not
	// block, when pipelines may have changed their owner.
	Run(ctx context.Context, changed func())
	// Owner names the replica that looks after a repository, and says whether it is
	// this one. It does not block, and may be called before Run.
	Owner(repository string) (name string, own bool)
}

// Member is a replica that wants to share.
type Member struct {
	// Name is the Pod's, Namespace the one in which it is.
	Name, Namespace string
	// Group is the same for replicas that can do the same work.
	Group string
}

// flagShare is the flag that makes replicas share the work.
const flagShare = "share"

// Variables that say which replica this is. They are Kubernetes' to set, through
// the downward API, and so no flags.
const (
	variablePodName      = "POD_NAME"
	variablePodNamespace = "POD_NAMESPACE"
	variableHostname     = "HOSTNAME" // the Pod's name, unless somebody set another
)

// members joins the replicas that have the same pipelines.
func (s *settings) members(env []string, cluster Cluster, pipelines []Pipeline) (Members, error) {
	if cluster.Share == nil {
		return nil, errors.New("there is no cluster to share in")
	}
	m := Member{Name: variable(env, variablePodName), Namespace: variable(env, variablePodNamespace)}
	if m.Name == "" {
		m.Name = variable(env, variableHostname)
	}
	if m.Name == "" {
		return nil, fmt.Errorf("this replica has no name; set the variable %s, in a Pod from metadata.name", variablePodName)
	}
	if m.Namespace == "" {
		m.Namespace = s.namespace
	}
	if m.Namespace == "" {
		return nil, fmt.Errorf("no namespace for the Leases; set the variable %s, in a Pod from metadata.namespace", variablePodNamespace)
	}
	var err error
	if m.Group, err = s.group(pipelines); err != nil {
		return nil, err
	}
	return cluster.Share(m)
}

// group is a name for all that this replica's work depends on. One that has
// another configuration, as during a rollout, may not know a pipeline at all, and
// must not be left with it.
func (s *settings) group(pipelines []Pipeline) (string, error) {
	var repositories []string
	for _, p := range pipelines {
		repositories = append(repositories, p.Engine.Repo.URL())
	}
	slices.Sort(repositories)
	environments := slices.Clone(s.environments)
	slices.Sort(environments)
	raw, err := json.Marshal([]any{repositories, s.git.Branch, environments, s.namespace})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}

// variable is the last one of a name, as the operating system has it.
func variable(env []string, name string) string {
	found := ""
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			found = value
		}
	}
	return found
}
