package sidecar

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/cmpwire/pluginpb"
	"github.com/fleeting-taas/propagator/pkg/config"
)

// Names of the plugin's parameters.
const (
	parameterEnvironment = "environment"
	parameterApplication = "application"
	parameterSnapshot    = "snapshot"
	parameterRenderer    = "renderer"
)

// Variables that Argo CD sets.
const (
	variableParameters  = "ARGOCD_APP_PARAMETERS"
	variablePrefix      = "ARGOCD_ENV_"
	variableSourcePath  = "ARGOCD_APP_SOURCE_PATH"
	variableKubeVersion = "KUBE_VERSION"
	variableAPIVersions = "KUBE_API_VERSIONS"
)

// maxParameter bounds a parameter's value; names and versions are short.
const maxParameter = 256

// Parameters choose what to render. They are untrusted.
type Parameters struct {
	// Environment and Application are required.
	Environment string
	Application string
	// Snapshot is the version that the tree is expected to be; empty means
	// whatever the lock says.
	Snapshot string
	// Renderer is part of Argo CD's cache key and otherwise without effect.
	Renderer string
}

// announcements describe the parameters to Argo CD's user interface.
func announcements() []*pluginpb.ParameterAnnouncement {
	return []*pluginpb.ParameterAnnouncement{
		{Name: parameterEnvironment, Title: "Environment", Required: true, Tooltip: "Environment of propagator.yaml to render; not the first one, which is plain Argo CD."},
		{Name: parameterApplication, Title: "Application", Required: true, Tooltip: "Application of the environment; its folder must be the Application's path."},
		{Name: parameterSnapshot, Title: "Snapshot", Tooltip: "Version that the tree must be, such as shop/v1.4.0. Optional; the lock in the tree decides."},
		{Name: parameterRenderer, Title: "Renderer", Tooltip: "Any word; a new one makes Argo CD render again instead of using its cache."},
	}
}

// parseParameters reads plugin.parameters, and for what is not there
// plugin.env (ARGOCD_ENV_ENVIRONMENT and so on).
func parseParameters(env map[string]string) (Parameters, error) {
	var p Parameters
	fields := []struct {
		name     string
		value    *string
		required bool
	}{
		{parameterEnvironment, &p.Environment, true},
		{parameterApplication, &p.Application, true},
		{parameterSnapshot, &p.Snapshot, false},
		{parameterRenderer, &p.Renderer, false},
	}
	given, err := decodeParameters(env[variableParameters])
	if err != nil {
		return p, err
	}
	for _, field := range fields {
		*field.value = given[field.name]
		delete(given, field.name)
		if *field.value == "" {
			*field.value = env[variablePrefix+strings.ToUpper(field.name)]
		}
		switch {
		case *field.value == "" && field.required:
			return p, fmt.Errorf("plugin parameter %s is missing; set it in spec.source.plugin.parameters of the Application", field.name)
		case len(*field.value) > maxParameter:
			return p, fmt.Errorf("plugin parameter %s is longer than %d characters", field.name, maxParameter)
		}
	}
	if len(given) > 0 {
		unknown := slices.Min(slices.Collect(maps.Keys(given)))
		return p, fmt.Errorf("unknown plugin parameter %s; there are environment, application, snapshot and renderer", quote(unknown))
	}
	return p, nil
}

// decodeParameters reads the JSON list in ARGOCD_APP_PARAMETERS; Argo CD
// writes null when there are none.
func decodeParameters(text string) (map[string]string, error) {
	values := map[string]string{}
	if text == "" {
		return values, nil
	}
	var list []struct {
		Name   string            `json:"name"`
		String *string           `json:"string"`
		Array  []string          `json:"array"`
		Map    map[string]string `json:"map"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%s is not a list of parameters: %w", variableParameters, err)
	}
	for _, p := range list {
		if _, double := values[p.Name]; double {
			return nil, fmt.Errorf("plugin parameter %s is given twice", quote(p.Name))
		}
		if p.String == nil || p.Array != nil || p.Map != nil {
			return nil, fmt.Errorf("plugin parameter %s must be a string", quote(p.Name))
		}
		values[p.Name] = *p.String
	}
	return values, nil
}

// capabilitiesOf is what Argo CD says about the cluster; nil when it says
// nothing.
func capabilitiesOf(env map[string]string) *config.Capabilities {
	apiVersions := slices.DeleteFunc(strings.Split(env[variableAPIVersions], ","), func(s string) bool { return s == "" })
	if env[variableKubeVersion] == "" && len(apiVersions) == 0 {
		return nil
	}
	return &config.Capabilities{KubeVersion: env[variableKubeVersion], APIVersions: apiVersions}
}

// quote shows a foreign value in a message.
func quote(s string) string { return strconv.Quote(clip(s)) }

// clip shortens a foreign value.
func clip(s string) string {
	if len(s) > maxParameter {
		return strings.ToValidUTF8(s[:maxParameter], "") + "…"
	}
	return s
}
