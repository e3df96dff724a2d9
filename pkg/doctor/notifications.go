package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// notificationTemplate is what of a template has Go templates that concern us.
type notificationTemplate struct {
	Message string `json:"message"`
	Webhook map[string]struct {
		Method string `json:"method"`
		Path   string `json:"path"`
		Body   string `json:"body"`
	} `json:"webhook"`
}

type triggerCondition struct {
	When    string   `json:"when"`
	OncePer string   `json:"oncePer"`
	Send    []string `json:"send"`
}

type subscription struct {
	Recipients []string `json:"recipients"`
	Triggers   []string `json:"triggers"`
	Selector   string   `json:"selector"`
}

type webhook struct {
	URL     string `json:"url"`
	Headers []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"headers"`
	// RetryMax below zero is one attempt; not set, or zero, it is four.
	RetryMax *int `json:"retryMax"`
}

// notificationConfig is argocd-notifications-cm, read as the controller does.
type notificationConfig struct {
	templates     map[string]notificationTemplate
	triggers      map[string][]triggerCondition
	subscriptions []subscription
	webhook       *webhook
	// unreadable are the keys of entries that were found broken already.
	unreadable map[string]bool
}

// parseNotifications reads every entry, since one that cannot be read stops
// all notifications of this Argo CD, other people's included.
func parseNotifications(data map[string]string, n *notes, subject, edit string) notificationConfig {
	c := notificationConfig{templates: map[string]notificationTemplate{}, triggers: map[string][]triggerCondition{}, unreadable: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text := []byte(data[key])
		var err error
		kind, name, _ := strings.Cut(key, ".")
		switch kind {
		case "template":
			var t notificationTemplate
			if err = yaml.Unmarshal(text, &t); err == nil {
				c.templates[name] = t
				err = parseTemplates(t)
			}
		case "trigger":
			var t []triggerCondition
			err = yaml.Unmarshal(text, &t)
			c.triggers[name] = t
		case "service":
			err = c.parseService(key, text)
		case "subscriptions":
			err = yaml.Unmarshal(text, &c.subscriptions)
			for _, s := range c.subscriptions {
				if _, e := labels.Parse(s.Selector); e != nil && err == nil {
					err = fmt.Errorf("selector %q is malformed", s.Selector)
				}
			}
		case "defaultTriggers":
			var names []string
			err = yaml.Unmarshal(text, &names)
		}
		if err != nil {
			c.unreadable[key] = true
			n.fail(subject, fmt.Sprintf("%s cannot be read, which stops all notifications of this Argo CD: %s", key, withoutPrefix(err)), edit+key)
		}
	}
	return c
}

// withoutPrefix shortens what the library stacks in front of a cause.
func withoutPrefix(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error unmarshaling JSON: while decoding JSON: ", "error converting YAML to JSON: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// parseService reads a service. Texts of durations are the trap: the controller
// wants nanoseconds, as a number.
func (c *notificationConfig) parseService(key string, text []byte) error {
	if parts := strings.Split(key, "."); len(parts) > 3 {
		return errors.New("its name must be service.<type> or service.<type>.<name>, without further dots")
	}
	var options map[string]any
	if err := yaml.Unmarshal(text, &options); err != nil {
		return err
	}
	if !strings.HasPrefix(key, "service.webhook") {
		return nil
	}
	for _, field := range []string{"retryWaitMin", "retryWaitMax"} {
		if value, ok := options[field].(string); ok {
			return fmt.Errorf("%s is the text %q; only a number of nanoseconds works (2 s is 2000000000)", field, value)
		}
	}
	var w webhook
	if err := yaml.Unmarshal(text, &w); err != nil {
		return err
	}
	if key == webhookService {
		c.webhook = &w
	}
	return nil
}

// parseTemplates reads Go templates with the functions that the controller has.
func parseTemplates(t notificationTemplate) error {
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	texts := map[string]string{"message": t.Message}
	for name, w := range t.Webhook {
		texts["webhook."+name+".path"], texts["webhook."+name+".body"] = w.Path, w.Body
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if _, err := template.New(name).Funcs(functions).Parse(texts[name]); err != nil {
			return err
		}
	}
	return nil
}
