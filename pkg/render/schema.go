package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// validateValues checks the values of a chart and its subcharts against their
// values.schema.json. Helm's own check would follow references to other files
// and servers; here a schema stands for itself.
func validateValues(t *tree, c *chart.Chart, dir string, values map[string]any) error {
	if c.Schema != nil {
		file := join(dir, "values.schema.json")
		if !t.isFile(file) { // an archived or aliased subchart
			file = dir
		}
		if err := validate(c.Schema, values); err != nil {
			return atf(file, 0, "values of chart %s: %w", c.Name(), err)
		}
	}
	for _, sub := range c.Dependencies() {
		below := join(dir, "charts/"+sub.Name())
		switch v := values[sub.Name()].(type) {
		case nil:
		case map[string]any:
			if err := validateValues(t, sub, below, v); err != nil {
				return err
			}
		default:
			return atf(join(dir, "values.yaml"), 0, "values of subchart %s are a %T, not a map of fields", sub.Name(), v)
		}
	}
	return nil
}

func validate(schema []byte, values map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some broken schemas
			err = fmt.Errorf("invalid schema: %v", p)
		}
	}()
	const self = "file:///values.schema.json"
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("invalid schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noReferences{})
	if err := compiler.AddResource(self, document); err != nil {
		return fmt.Errorf("invalid schema: %w", err)
	}
	validator, err := compiler.Compile(self)
	if err != nil {
		var load *jsonschema.LoadURLError
		if errors.As(err, &load) {
			return fmt.Errorf("schema refers to %s: %w", redacted(load.URL), load.Err)
		}
		return fmt.Errorf("invalid schema: %w", err)
	}
	if values == nil {
		values = map[string]any{}
	}
	if err := validator.Validate(values); err != nil {
		return errors.New(plainly(err.Error()))
	}
	return nil
}

// plainly makes one line of the library's list of violations.
func plainly(message string) string {
	_, list, found := strings.Cut(message, "\n")
	if !found {
		return message
	}
	lines := strings.Split(list, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimSpace(lines[i]), "- ")
	}
	return strings.Join(lines, "; ")
}

// noReferences loads nothing. Helm accepts whatever an unknown urn: stands
// for, so that is kept.
type noReferences struct{}

func (noReferences) Load(url string) (any, error) {
	if strings.HasPrefix(url, "urn:") {
		return true, nil
	}
	return nil, errors.New("schemas outside the file are not read; copy it into values.schema.json under $defs")
}
