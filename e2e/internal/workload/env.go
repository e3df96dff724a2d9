package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// environment is that of a container: envFrom, then env, whose later entries
// win, with $(NAME) replaced by what stands before.
func (p *pod) environment(ctx context.Context, container *corev1.Container) ([]Variable, error) {
	var e environment
	for _, from := range container.EnvFrom {
		if err := p.addFrom(ctx, &e, from); err != nil {
			return nil, err
		}
	}
	for _, v := range container.Env {
		value, ok, err := v.Value, true, error(nil)
		if v.ValueFrom != nil {
			value, ok, err = p.value(ctx, container, v.ValueFrom)
		} else {
			value = expand(value, e.lookup)
		}
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", v.Name, err)
		}
		if ok {
			e.set(Variable{v.Name, value, v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil})
		}
	}
	return e.list, nil
}

// environment is a list without repetitions.
type environment struct{ list []Variable }

func (e *environment) set(variable Variable) {
	e.list = slices.DeleteFunc(e.list, func(v Variable) bool { return v.Name == variable.Name })
	e.list = append(e.list, variable)
}

func (e *environment) lookup(name string) (string, bool) {
	for _, v := range e.list {
		if v.Name == name {
			return v.Value, true
		}
	}
	return "", false
}

// addFrom adds all keys of an object.
func (p *pod) addFrom(ctx context.Context, e *environment, from corev1.EnvFromSource) error {
	kind, name, optional := "", "", false
	switch {
	case from.ConfigMapRef != nil:
		kind, name, optional = kindConfigMap, from.ConfigMapRef.Name, isTrue(from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		kind, name, optional = kindSecret, from.SecretRef.Name, isTrue(from.SecretRef.Optional)
	default:
		return errors.New("envFrom names neither a ConfigMap nor a Secret")
	}
	values, ok, err := p.reader.values(ctx, kind, name)
	if err != nil {
		return err
	}
	if !ok && !optional {
		return notFound(ReasonConfig, kind, name)
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		// A kubelet leaves out what cannot be a variable.
		if variable := from.Prefix + key; !strings.ContainsAny(variable, "= \x00") {
			e.set(Variable{variable, string(values[key]), kind == kindSecret})
		}
	}
	return nil
}

// value is that of a valueFrom. It reports false for an optional one that does
// not exist, whose variable stays unset.
func (p *pod) value(ctx context.Context, container *corev1.Container, from *corev1.EnvVarSource) (string, bool, error) {
	switch {
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return p.key(ctx, kindConfigMap, ref.Name, ref.Key, isTrue(ref.Optional))
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return p.key(ctx, kindSecret, ref.Name, ref.Key, isTrue(ref.Optional))
	case from.FieldRef != nil:
		value, err := p.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := resourceField(container, from.ResourceFieldRef)
		return value, err == nil, err
	}
	return "", false, errors.New("its valueFrom is of a kind that is not played here")
}

func (p *pod) key(ctx context.Context, kind, name, key string, optional bool) (string, bool, error) {
	values, ok, err := p.reader.values(ctx, kind, name)
	if err != nil {
		return "", false, err
	}
	value, has := values[key]
	switch {
	case has:
		return string(value), true, nil
	case optional:
		return "", false, nil
	case !ok:
		return "", false, notFound(ReasonConfig, kind, name)
	}
	return "", false, &StartError{Reason: ReasonConfig, Err: fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, p.namespace, name)}
}

func notFound(reason, kind, name string) error {
	return &StartError{Reason: reason, Err: fmt.Errorf("%s %q not found", strings.ToLower(kind), name)}
}

// nodeName is that of the cluster's simulated node.
const nodeName = "kwok-0"

// field is that of a fieldRef.
func (p *pod) field(path string) (string, error) {
	switch path {
	case "metadata.name":
		return p.name, nil
	case "metadata.namespace":
		return p.namespace, nil
	case "spec.serviceAccountName":
		return p.template.Spec.ServiceAccountName, nil
	case "spec.nodeName":
		return nodeName, nil
	case "status.podIP", "status.hostIP":
		return "127.0.0.1", nil
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return p.template.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return p.template.Annotations[key], nil
	}
	return "", fmt.Errorf("fieldRef %s is not played here", path)
}

// subscript takes key out of of['key'].
func subscript(path, of string) (string, bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// resourceField is that of a resourceFieldRef: a limit or request, divided and
// rounded up.
func resourceField(container *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	list := container.Resources.Requests
	name, ok := strings.CutPrefix(ref.Resource, "requests.")
	if !ok {
		list = container.Resources.Limits
		if name, ok = strings.CutPrefix(ref.Resource, "limits."); !ok {
			return "", fmt.Errorf("resourceFieldRef %s is neither a limit nor a request", ref.Resource)
		}
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok {
		return "", fmt.Errorf("resourceFieldRef %s is not set, and the node's capacity is not played here", ref.Resource)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt((quantity.MilliValue()+divisor.MilliValue()-1)/divisor.MilliValue(), 10), nil
	}
	return strconv.FormatInt((quantity.Value()+divisor.Value()-1)/divisor.Value(), 10), nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// expand replaces $(NAME) by the variable's value. A reference to what is not
// set stays as it is, and $$ is a dollar sign.
func expand(s string, lookup func(string) (string, bool)) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		rest := s[i+1:]
		end := strings.IndexByte(rest, ')')
		switch {
		case rest[0] == '$':
			out.WriteByte('$')
			s = rest[1:]
		case rest[0] == '(' && end >= 0:
			if value, ok := lookup(rest[1:end]); ok {
				out.WriteString(value)
			} else {
				out.WriteString(s[i : i+2+end])
			}
			s = rest[end+1:]
		default:
			out.WriteByte('$')
			s = rest
		}
	}
}

func expandAll(list []string, lookup func(string) (string, bool)) []string {
	var out []string
	for _, s := range list {
		out = append(out, expand(s, lookup))
	}
	return out
}
