package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// The API server notes every request of a service account. The admin's, which
// are the control plane's and the tests', would only be noise.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  userGroups: [system:serviceaccounts]
- level: None
`

// Denial is a request that RBAC has refused to a service account.
type Denial struct {
	At        time.Time
	User      string // system:serviceaccount:<namespace>:<name>
	Verb      string // As in a Role.
	Group     string // The API group of the resource, empty for Kubernetes' core.
	Resource  string // With its subresource after a slash; a path for what is no resource.
	Namespace string // Empty for what has none, or for all of them.
	Name      string // Empty when the request was not for one object.
}

func (d Denial) String() string {
	return fmt.Sprintf("%s may not %s %s.%s %s/%s", d.User, d.Verb, d.Resource, d.Group, d.Namespace, d.Name)
}

// Denials lists what RBAC has refused to service accounts since the start, in
// order. A refusal is there a moment after its answer.
func (c *Cluster) Denials() ([]Denial, error) {
	file, err := os.Open(c.log("audit"))
	if errors.Is(err, os.ErrNotExist) {
		// It is made for the first request.
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("denials: %w", err)
	}
	defer func() { _ = file.Close() }()
	denials, err := readDenials(file)
	if err != nil {
		return nil, fmt.Errorf("denials: %s: %w", file.Name(), err)
	}
	return denials, nil
}

// readDenials reads an audit log: one event in a line.
func readDenials(log io.Reader) ([]Denial, error) {
	var denials []Denial
	reader := bufio.NewReader(log)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// A line without its end is still being written.
			return denials, nil
		}
		if err != nil {
			return nil, err
		}
		var event struct {
			Timestamp  time.Time                                                         `json:"requestReceivedTimestamp"`
			RequestURI string                                                            `json:"requestURI"`
			Verb       string                                                            `json:"verb"`
			User       struct{ Username string }                                         `json:"user"`
			Object     struct{ Resource, Subresource, APIGroup, Namespace, Name string } `json:"objectRef"`
			Notes      map[string]string                                                 `json:"annotations"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		if event.Notes["authorization.k8s.io/decision"] != "forbid" {
			continue
		}
		d := Denial{
			At: event.Timestamp, User: event.User.Username, Verb: event.Verb,
			Group: event.Object.APIGroup, Resource: event.Object.Resource,
			Namespace: event.Object.Namespace, Name: event.Object.Name,
		}
		switch {
		case d.Resource == "":
			d.Resource = event.RequestURI
		case event.Object.Subresource != "":
			d.Resource += "/" + event.Object.Subresource
		}
		denials = append(denials, d)
	}
}
