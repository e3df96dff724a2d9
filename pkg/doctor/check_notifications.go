package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

// The names of our entries in argocd-notifications-cm.
const (
	webhookService  = "service.webhook.propagator"
	webhookName     = "propagator"
	templateName    = "propagator"
	notifyPath      = "/api/v1/argocd"
	subscriptionKey = "subscriptions"
)

func checkNotifications(ctx context.Context, x *examination, n *notes) {
	const subject = "ConfigMap " + notificationsMap
	data, err := x.configMap(ctx, notificationsMap)
	if errors.Is(err, kube.ErrNotFound) {
		n.fail(subject, "there is none in namespace "+x.Namespace, x.overlayFix(ctx))
		return
	}
	if err != nil {
		n.trouble(subject, err)
		return
	}
	c := parseNotifications(data, n, subject, x.kubectl("edit configmap %s", notificationsMap)+"   # correct ")
	x.checkWebhook(ctx, n, subject, c)
	checkTemplates(n, subject, c, x.overlayFix(ctx))
	checkTriggers(n, subject, c, x.overlayFix(ctx))
	if !n.faults() {
		n.ok(subject, "%s, %s; the hook is told by %s", plural(len(c.templates), "template"), plural(len(c.triggers), "trigger"), strings.Join(c.senders(), ", "))
	}
}

// overlayFix applies what the overlay adds to Argo CD's own objects.
func (x *examination) overlayFix(ctx context.Context) string {
	d, err := x.deployment(ctx, repoServer)
	if err != nil {
		return apply("argocd", "Argo CD's part")
	}
	return applyOverlay(d)
}

var secretReference = regexp.MustCompile(`\$[\w-]+`)

// checkWebhook looks where notifications go, and with which token.
func (x *examination) checkWebhook(ctx context.Context, n *notes, subject string, c notificationConfig) {
	if c.webhook == nil {
		if !c.unreadable[webhookService] {
			n.fail(subject, "it has no "+webhookService+", so nobody tells the hook", x.overlayFix(ctx))
		}
		return
	}
	want := fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", hookWorkload, x.Namespace, programPort)
	edit := x.kubectl("edit configmap %s", notificationsMap) + "   # "
	switch fault := x.serviceFault(ctx, c.webhook.URL); {
	case fault.err != nil:
		n.trouble(subject, fault.err)
	case fault.message != "" && !fault.unknown:
		n.fail(subject, webhookService+": url: "+fault.message, edit+"url: "+want)
	case fault.unknown:
		n.skip(subject, webhookService+": url: "+fault.message, "ask it from a Pod: curl -i "+publicURL(c.webhook.URL)+"/healthz")
	default:
		if u, err := url.Parse(c.webhook.URL); err == nil && strings.Trim(u.Path, "/") != "" {
			n.warn(subject, webhookService+": url has a path, which is put in front of the template's", edit+"url: "+want)
		}
	}
	if c.webhook.RetryMax == nil || *c.webhook.RetryMax >= 0 {
		n.warn(subject, webhookService+": retryMax is not -1: while the hook is down, each notification of ours holds everybody's up for seconds, and the hook needs none of them", x.overlayFix(ctx))
	}
	sent := ""
	for _, h := range c.webhook.Headers {
		if strings.EqualFold(h.Name, "Authorization") {
			sent = h.Value
		}
	}
	header := edit + "headers: [{name: Authorization, value: Bearer $" + notificationsToken + "}]"
	reference := secretReference.FindString(sent)
	switch {
	case sent == "":
		n.fail(subject, webhookService+" sends no Authorization header, so the hook refuses every notification", header)
	case reference == "":
		x.secrets.add(sent, strings.TrimPrefix(sent, "Bearer "))
		n.fail(subject, webhookService+" has its token written out, where everybody can read it", header)
	case !strings.HasPrefix(sent, "Bearer $"):
		n.fail(subject, webhookService+": the Authorization header must be: Bearer $"+notificationsToken, header)
	case reference != "$"+notificationsToken:
		x.checkReference(ctx, n, subject, reference, header)
	}
}

// checkReference looks at a token that is kept under a key of somebody's own.
func (x *examination) checkReference(ctx context.Context, n *notes, subject, reference, fix string) {
	s, err := x.secret(ctx, notificationsSecret)
	if err != nil {
		n.trouble("Secret "+notificationsSecret, err)
		return
	}
	if _, ok := s.Data[reference[1:]]; !ok {
		n.fail(subject, fmt.Sprintf("%s refers to %s, and Secret %s has no such key; the reference itself is sent", webhookService, reference, notificationsSecret), fix)
	}
}

// checkTemplates wants our template to reach the hook.
func checkTemplates(n *notes, subject string, c notificationConfig, fix string) {
	t, ok := c.templates[templateName]
	if !ok {
		if !c.unreadable["template."+templateName] {
			n.fail(subject, "it has no template."+templateName, fix)
		}
		return
	}
	w, ok := t.Webhook[webhookName]
	switch {
	case !ok:
		n.fail(subject, "template."+templateName+" has no webhook."+webhookName+", so its service sends an empty GET", fix)
	case !strings.EqualFold(w.Method, "POST"):
		n.fail(subject, fmt.Sprintf("template.%s: method is %q; the hook takes POST", templateName, w.Method), fix)
	case strings.TrimSpace(w.Path) != notifyPath:
		n.fail(subject, fmt.Sprintf("template.%s: path is %q; the hook listens at %s", templateName, w.Path, notifyPath), fix)
	}
	for _, name := range slices.Sorted(maps.Keys(c.triggers)) {
		for _, condition := range c.triggers[name] {
			for _, sends := range condition.Send {
				if _, ok := c.templates[sends]; !ok {
					n.fail(subject, fmt.Sprintf("trigger.%s sends template %s, which does not exist", name, sends), "add template."+sends+", or remove it from trigger."+name)
				}
			}
		}
	}
}

// senders are the triggers that send our template, by name.
func (c notificationConfig) senders() []string {
	var names []string
	for name, conditions := range c.triggers {
		if slices.ContainsFunc(conditions, func(t triggerCondition) bool { return slices.Contains(t.Send, templateName) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkTriggers wants both kinds of trigger, because each loses what the other
// delivers: once per operation (lost when sending fails), and repeated until
// sent (lost when nobody saw the moment before).
func checkTriggers(n *notes, subject string, c notificationConfig, fix string) {
	senders := c.senders()
	_, known := c.templates[templateName]
	switch {
	case !known && len(senders) == 0:
		return // said above
	case len(senders) == 0:
		n.fail(subject, "no trigger sends template."+templateName, fix)
		return
	}
	once, again := false, false
	for _, name := range senders {
		for _, condition := range c.triggers[name] {
			if slices.Contains(condition.Send, templateName) {
				once, again = once || condition.OncePer != "", again || condition.OncePer == ""
			}
			if strings.TrimSpace(condition.When) == "" {
				n.fail(subject, "trigger."+name+" has a condition without when, which is never true", fix)
			}
		}
	}
	switch {
	case !once:
		n.warn(subject, "no trigger that sends template."+templateName+" has oncePer: syncs that follow each other quickly are lost", fix)
	case !again:
		n.warn(subject, "every trigger that sends template."+templateName+" has oncePer: what could not be sent is lost", fix)
	}
	subscribed := map[string]bool{}
	for _, s := range c.subscriptions {
		selector, err := labels.Parse(s.Selector)
		if err != nil || !selector.Matches(labels.Set{labelPipeline: "any"}) && !strings.Contains(s.Selector, labelPipeline) {
			continue
		}
		for _, recipient := range s.Recipients {
			if to, _, _ := strings.Cut(recipient, ":"); to == webhookName {
				for _, trigger := range s.Triggers {
					subscribed[trigger] = true
				}
			}
		}
	}
	var missing []string
	for _, name := range senders {
		if !subscribed[name] {
			missing = append(missing, name)
		}
	}
	switch {
	case c.unreadable[subscriptionKey]:
	case len(missing) == len(senders):
		n.fail(subject, fmt.Sprintf("%s: none has recipient %s, the trigger %s, and a selector for Applications with label %s", subscriptionKey, webhookName, strings.Join(missing, " or "), labelPipeline), fix)
	case len(missing) > 0:
		n.warn(subject, fmt.Sprintf("%s: nobody subscribed %s to trigger %s", subscriptionKey, webhookName, strings.Join(missing, ", ")), fix)
	}
	for _, s := range c.subscriptions {
		for _, trigger := range s.Triggers {
			if _, ok := c.triggers[trigger]; !ok {
				n.fail(subject, fmt.Sprintf("%s: there is no trigger.%s", subscriptionKey, trigger), fix)
			}
		}
	}
}
