package servicenet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ErrUnreachable reports a Service that does not exist or has no ready
// endpoint for the port: what a client in a cluster sees as an unknown host or
// a refused connection.
var ErrUnreachable = errors.New("unreachable")

var services = schema.GroupVersionResource{Version: "v1", Resource: "services"}

// name is a host as a Service name.
type name struct {
	namespace, service string
	// certain says that the host can be nothing else. Otherwise it is a
	// Service if there is one.
	certain bool
}

// serviceName reads a host as the name of a Service. It reports false for
// hosts that cannot be one.
func serviceName(host, namespace string) (name, bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || host == "localhost" || net.ParseIP(host) != nil {
		return name{}, false
	}
	labels := strings.Split(strings.TrimSuffix(host, ".cluster.local"), ".")
	switch {
	case len(labels) == 1:
		return name{namespace: namespace, service: labels[0]}, true
	case len(labels) == 2:
		return name{namespace: labels[1], service: labels[0]}, true
	case len(labels) == 3 && labels[2] == "svc":
		return name{namespace: labels[1], service: labels[0], certain: true}, true
	}
	return name{}, false
}

// Resolve says where a connection to address (host:port) goes. For a Service
// it is one of its ready endpoints, in turn; an address that is no Service's is
// returned as it is. Errors for Services are [ErrUnreachable], unless the API
// server does not answer.
func (n *Network) Resolve(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", address, err)
	}
	service, ok := serviceName(host, n.namespace)
	if !ok {
		return address, nil
	}
	object, err := n.client.Resource(services).Namespace(service.namespace).Get(ctx, service.service, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !service.certain:
		return address, nil
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("resolve %s: %w: there is no Service %s in namespace %s", address, ErrUnreachable, service.service, service.namespace)
	case err != nil:
		return "", fmt.Errorf("resolve %s: %w", address, err)
	}
	target, err := n.pick(object, port)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", address, err)
	}
	return target, nil
}

// pick chooses an endpoint of a Service for one of its ports.
func (n *Network) pick(service *unstructured.Unstructured, port string) (string, error) {
	id := service.GetNamespace() + "/" + service.GetName()
	selector, _, err := unstructured.NestedStringMap(service.Object, "spec", "selector")
	if err != nil {
		return "", fmt.Errorf("service %s: %w", id, err)
	}
	if len(selector) == 0 {
		return "", fmt.Errorf("%w: Service %s has no selector", ErrUnreachable, id)
	}
	target, ok := targetPort(service, port)
	if !ok {
		return "", fmt.Errorf("%w: Service %s has no TCP port %s", ErrUnreachable, id, port)
	}
	selected, addresses := n.addresses(service.GetNamespace(), selector, target)
	if len(addresses) == 0 {
		return "", fmt.Errorf("%w: of %d running containers that Service %s selects (%s) none is ready and has the port %s",
			ErrUnreachable, selected, id, labels.FormatLabels(selector), target)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	turn := n.turn[id]
	n.turn[id]++
	return addresses[turn%len(addresses)], nil
}

// targetPort is the number or name of the Pods' port behind a Service's.
func targetPort(service *unstructured.Unstructured, port string) (string, bool) {
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, entry := range ports {
		p, ok := entry.(map[string]any)
		if !ok || fmt.Sprint(p["port"]) != port {
			continue
		}
		if protocol, ok := p["protocol"].(string); ok && protocol != "TCP" {
			continue
		}
		if target := p["targetPort"]; target != nil && fmt.Sprint(target) != "0" {
			return fmt.Sprint(target), true
		}
		return port, true
	}
	return "", false
}

// addresses are those of the selected endpoints that have the port, in stable
// order, and how many endpoints were selected at all.
func (n *Network) addresses(namespace string, selector map[string]string, port string) (selected int, addresses []string) {
	matches := labels.SelectorFromSet(selector)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.endpoints {
		if e.Namespace != namespace || !matches.Matches(labels.Set(e.Labels)) {
			continue
		}
		selected++
		for _, p := range e.Ports {
			if p.Name == port || strconv.Itoa(p.Number) == port {
				addresses = append(addresses, p.Address)
			}
		}
	}
	slices.Sort(addresses)
	return selected, addresses
}
