package workload

import "strings"

// arguments is a command line of flags, --flag=value or --flag value.
type arguments []string

// lookup returns the last value of a flag, which is the one that counts.
func (a arguments) lookup(flag string) (string, bool) {
	value, found := "", false
	for i, arg := range a {
		if v, ok := strings.CutPrefix(arg, flag+"="); ok {
			value, found = v, true
		} else if arg == flag && i+1 < len(a) {
			value, found = a[i+1], true
		}
	}
	return value, found
}

// with returns the command line with the flag set, wherever it stands, as one
// word or as two.
func (a arguments) with(flag, value string, twoWords bool) arguments {
	words := []string{flag + "=" + value}
	if twoWords {
		words = []string{flag, value}
	}
	var out arguments
	set := false
	for i := 0; i < len(a); i++ {
		switch {
		case strings.HasPrefix(a[i], flag+"="):
		case a[i] == flag && i+1 < len(a):
			i++
		default:
			out = append(out, a[i])
			continue
		}
		if !set {
			out = append(out, words...)
			set = true
		}
	}
	if !set {
		out = append(out, words...)
	}
	return out
}
