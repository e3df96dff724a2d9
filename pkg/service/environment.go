package service

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

// Prefix is what the variables of all programs of the suite begin with.
const Prefix = "PROPAGATOR"

// Variable is the environment variable of a flag: PROPAGATOR_LOG_LEVEL for
// log-level.
func Variable(flag string) string {
	return Prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// FromEnvironment sets every flag that the command line left alone from its
// variable in env, a list of NAME=value as os.Environ returns it. An empty
// value counts as unset. Call it after the command line was parsed; all
// unusable values are reported, by name and without the value, which could be
// a secret in the wrong place.
func FromEnvironment(flags *pflag.FlagSet, env []string) error {
	values := map[string]string{}
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	var errs []error
	visitSettable(flags, func(flag *pflag.Flag) {
		value := values[Variable(flag.Name)]
		if flag.Changed || value == "" {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s does not hold a valid %s for --%s", Variable(flag.Name), flag.Value.Type(), flag.Name))
			return
		}
		_ = flags.SetAnnotation(flag.Name, fromVariable, []string{"true"}) // fails only for flags that there are not
	})
	return errors.Join(errs...)
}

// fromVariable marks a flag that [FromEnvironment] has set.
const fromVariable = "propagator_from_variable"

// Typed reports whether the flag stood on the command line, rather than in a
// variable, which may be there for other programs.
func Typed(flags *pflag.FlagSet, name string) bool {
	flag := flags.Lookup(name)
	return flag != nil && flag.Changed && flag.Annotations[fromVariable] == nil
}

// DescribeVariables adds the variable's name to the help of each flag.
func DescribeVariables(flags *pflag.FlagSet) {
	visitSettable(flags, func(flag *pflag.Flag) {
		flag.Usage += " [$" + Variable(flag.Name) + "]"
	})
}

// WriteFlagTable writes flags, variables, formats and defaults as a table.
func WriteFlagTable(w io.Writer, flags *pflag.FlagSet) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "FLAG\tVARIABLE\tFORMAT\tDEFAULT")
	visitSettable(flags, func(flag *pflag.Flag) {
		_, _ = fmt.Fprintf(table, "--%s\t%s\t%s\t%s\n", flag.Name, Variable(flag.Name), flag.Value.Type(), flag.DefValue)
	})
	return table.Flush()
}

// visitSettable leaves out the flags that ask for something else than a run.
func visitSettable(flags *pflag.FlagSet, visit func(*pflag.Flag)) {
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && flag.Name != "version" {
			visit(flag)
		}
	})
}
