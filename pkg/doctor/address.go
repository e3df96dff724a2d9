package doctor

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// publicURL is a URL without what may be secret in it.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		if !strings.ContainsAny(raw, "@ ") {
			return raw // a path, or host:path
		}
		return "a malformed address"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// withoutURL is what went wrong with a request, without its URL.
func withoutURL(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// clusterService reads the name of a Service from a host as Pods write it:
// name, name.namespace, name.namespace.svc and so on. A host with a single
// label is a Service of the same namespace.
func clusterService(host, namespace string) (service, in string, ok bool) {
	host = strings.TrimSuffix(host, ".")
	parts := strings.Split(host, ".")
	switch {
	case host == "" || host == "localhost" || net.ParseIP(host) != nil:
		return "", "", false
	case len(parts) == 1:
		return parts[0], namespace, true
	case len(parts) == 2 || parts[2] == "svc":
		return parts[0], parts[1], true
	}
	return "", "", false
}

// inCluster reports whether only Pods can resolve a host.
func inCluster(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(host, ".")
	return strings.HasSuffix(host, ".svc") || strings.Contains(host, ".svc.") || strings.HasSuffix(host, ".cluster.local")
}
