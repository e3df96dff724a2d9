package workload

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// bare is an address that can only be one to listen on.
var bare = regexp.MustCompile(`^(0\.0\.0\.0|\[::\])?:[0-9]{1,5}$`)

// rest looks at everything that nothing has settled: paths are translated or
// refused, addresses to listen on are refused.
func (t *translation) rest() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(t.env)) {
		if t.free[name] {
			continue
		}
		value, err := t.value(t.env[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		t.env[name] = value
	}
	for i, arg := range t.args {
		flag, value, joined := strings.Cut(arg, "=")
		before := ""
		if i > 0 {
			before = t.args[i-1]
		}
		switch {
		case joined && strings.HasPrefix(flag, "-"):
			if t.free[flag] {
				continue
			}
		default:
			flag, value = "", arg
			if t.free[before] {
				continue
			}
		}
		translated, err := t.value(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("argument %d: %w", i+1, err))
			continue
		}
		if flag != "" {
			translated = flag + "=" + translated
		}
		t.args[i] = translated
	}
	return errors.Join(errs...)
}

// value translates what is a path and refuses what is not known.
func (t *translation) value(value string) (string, error) {
	switch {
	case bare.MatchString(value):
		return "", fmt.Errorf("%q is an address to listen on that the suite does not know", value)
	case strings.HasPrefix(value, "/") && value != "/":
		path, ok := t.path(value)
		if !ok {
			return "", fmt.Errorf("%s is below no volumeMount of the container", value)
		}
		return path, nil
	}
	return value, nil
}
