package config

import "go.yaml.in/yaml/v3"

// Parse reads the text of a propagator.yaml. The pipeline it returns is valid
// and has every default filled in. File is only used in messages; when empty
// it is propagator.yaml. The error is of type [Faults] and lists everything
// that is wrong, sorted by line.
func Parse(text []byte, file string) (*Pipeline, error) {
	r := newReport(file)
	root := r.document(text)
	if root == nil {
		return nil, r.err()
	}
	d := &decoder{report: r}
	p := &Pipeline{}
	if v, ok := d.enter("", nil, root); ok {
		d.object(v, "field", pipelineFields(d, p))
	}
	p.fillDefaults()
	r.checkPipeline(p)
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}

func pipelineFields(d *decoder, p *Pipeline) []field {
	var apiVersion, kind string
	return []field{
		required("apiVersion", oneOf(d, &apiVersion, APIVersion)),
		required("kind", oneOf(d, &kind, Kind)),
		required("metadata", objectOf(d, p, metadataFields)),
		optional("source", objectOf(d, &p.Source, sourceFields)),
		required("registries", func(v value) { d.registries(v, p) }),
		optional("upstreams", listOf(d, &p.Upstreams, upstreamFields)),
		optional("images", listOf(d, &p.Images, imageFields)),
		optional("hotfixes", objectOf(d, &p.Hotfixes, hotfixFields)),
		optional("services", listOf(d, &p.Services, serviceFields)),
		optional("identity", objectOf(d, &p.Identity, identityFields)),
		required("environments", listOf(d, &p.Environments, environmentFields)),
	}
}

func metadataFields(d *decoder, p *Pipeline) []field {
	return []field{required("name", d.text(&p.Name))}
}

func sourceFields(d *decoder, s *Source) []field {
	return []field{
		optional("branch", d.text(&s.Branch)),
		optional("capture", someOf(d, &s.Capture, CaptureSync, CaptureTag, CaptureSchedule, CaptureManual)),
		optional("tags", d.text(&s.Tags)),
		optional("schedule", pointerOf(d, &s.Schedule, Schedule{}, scheduleFields)),
		optional("quiet", d.duration(&s.Quiet)),
		optional("quietAtMost", d.duration(&s.QuietAtMost)),
		optional("host", objectOf(d, &s.Host, hostFields)),
	}
}

func scheduleFields(d *decoder, s *Schedule) []field {
	return []field{
		required("cron", d.text(&s.Cron)),
		optional("timezone", d.text(&s.Timezone)),
	}
}

func (d *decoder) registries(v value, p *Pipeline) {
	p.Registries = map[string]Registry{}
	d.mapping(v, func(name string, keyNode, node *yaml.Node) {
		registry := Registry{Name: name}
		if inner, ok := d.enter(join(v.path, name), keyNode, node); ok {
			d.object(inner, "field", registryFields(d, &registry))
		}
		p.Registries[name] = registry
	})
}

func registryFields(d *decoder, r *Registry) []field {
	return []field{
		required("url", d.text(&r.URL)),
		optional("endpoint", d.text(&r.Endpoint)),
		optional("retention", oneOf(d, &r.Retention, Keep, Ephemeral)),
	}
}

func upstreamFields(d *decoder, u *Upstream) []field {
	return []field{
		required("host", d.text(&u.Host)),
		required("endpoint", d.text(&u.Endpoint)),
	}
}

func imageFields(d *decoder, i *ImagePath) []field {
	return []field{
		required("kind", d.text(&i.Kind)),
		optional("group", d.text(&i.Group)),
		required("path", d.text(&i.Path)),
	}
}

func serviceFields(d *decoder, s *Service) []field {
	return []field{
		required("image", d.text(&s.Image)),
		required("repository", d.text(&s.Repository)),
	}
}

func identityFields(d *decoder, i *Identity) []field {
	return []field{
		optional("name", d.text(&i.Name)),
		optional("email", d.text(&i.Email)),
	}
}

func environmentFields(d *decoder, e *Environment) []field {
	return []field{
		required("name", d.text(&e.Name)),
		optional("after", d.texts(&e.After)),
		required("path", d.text(&e.Path)),
		optional("branch", d.text(&e.Branch)),
		required("registry", d.text(&e.Registry)),
		optional("promote", oneOf(d, &e.Promote, Auto, Manual)),
		optional("admit", oneOf(d, &e.Admit, AdmitLatest, AdmitRelease)),
		optional("onFailure", pointerOf(d, &e.OnFailure, OnFailure{After: defaultFailureAfter}, onFailureFields)),
		optional("requests", pointerOf(d, &e.Requests, Requests{Within: DefaultRequestsWithin}, requestsFields)),
		optional("gates", d.list(func(v value) {
			var gate Gate
			if v.node != nil && d.filled(v, "write for instance {approval: {count: 1}} or {soak: 4h}") {
				d.object(v, "gate", gateFields(d, &gate))
			}
			e.Gates = append(e.Gates, gate)
		})),
		optional("destinations", listOf(d, &e.Destinations, destinationFields)),
		optional("applications", listOf(d, &e.Applications, applicationFields)),
		optional("capabilities", func(v value) {
			e.Capabilities = &Capabilities{}
			if !d.filled(v, "give kubeVersion or apiVersions, or remove it") {
				return
			}
			d.object(v, "field", capabilitiesFields(d, e.Capabilities))
		}),
	}
}

func onFailureFields(d *decoder, o *OnFailure) []field {
	return []field{
		optional("after", d.duration(&o.After)),
		required("do", oneOf(d, &o.Do, FailureHold, FailureRollback)),
	}
}

func requestsFields(d *decoder, r *Requests) []field {
	return []field{
		required("signers", d.text(&r.Signers)),
		optional("within", d.duration(&r.Within)),
	}
}

func gateFields(d *decoder, g *Gate) []field {
	return []field{
		optional("approval", func(v value) {
			g.Approval = &ApprovalGate{Count: 1}
			d.object(v, "field", approvalFields(d, g.Approval))
		}),
		optional("validation", func(v value) {
			g.Validation = &ValidationGate{}
			d.object(v, "field", nil)
		}),
		optional("soak", func(v value) {
			g.Soak = &SoakGate{}
			d.duration(&g.Soak.For)(v)
		}),
		optional("window", pointerOf(d, &g.Window, WindowGate{}, windowFields)),
		optional("freeze", pointerOf(d, &g.Freeze, FreezeGate{}, freezeFields)),
		optional("prometheus", pointerOf(d, &g.Prometheus, PrometheusGate{}, prometheusFields)),
		optional("http", pointerOf(d, &g.HTTP, HTTPGate{}, httpFields)),
		optional("signatures", pointerOf(d, &g.Signatures, SignaturesGate{}, signaturesFields)),
		optional("job", pointerOf(d, &g.Job, JobGate{}, jobFields)),
		optional("plugin", pointerOf(d, &g.Plugin, PluginGate{}, pluginFields)),
	}
}

// pointerOf decodes an object that is not there otherwise, and begins with
// defaults.
func pointerOf[T any](d *decoder, into **T, defaults T, fields func(*decoder, *T) []field) func(value) {
	return func(v value) {
		*into = &defaults
		d.object(v, "field", fields(d, *into))
	}
}

func approvalFields(d *decoder, a *ApprovalGate) []field {
	return []field{
		optional("count", d.number(&a.Count)),
		optional("signers", d.text(&a.Signers)),
		optional("self", func(v value) {
			self := true
			d.flag(&self)(v)
			a.NotSelf = !self
		}),
	}
}

func windowFields(d *decoder, w *WindowGate) []field {
	return []field{
		required("cron", d.text(&w.Cron)),
		required("duration", d.duration(&w.Duration)),
		optional("timezone", d.text(&w.Timezone)),
	}
}

func freezeFields(d *decoder, f *FreezeGate) []field {
	return []field{
		optional("cron", d.text(&f.Cron)),
		optional("duration", d.duration(&f.Duration)),
		optional("from", d.date(&f.From)),
		optional("until", d.date(&f.Until)),
		optional("timezone", d.text(&f.Timezone)),
		optional("reason", d.text(&f.Reason)),
	}
}

func prometheusFields(d *decoder, p *PrometheusGate) []field {
	return []field{
		required("server", d.text(&p.Server)),
		required("query", d.text(&p.Query)),
		required("pass", d.text(&p.Pass)),
		optional("empty", oneOf(d, &p.Empty, "wait", "pass")),
	}
}

func httpFields(d *decoder, h *HTTPGate) []field {
	return []field{
		required("url", d.text(&h.URL)),
		optional("method", oneOf(d, &h.Method, "GET", "POST")),
		optional("field", d.text(&h.Field)),
		optional("value", d.text(&h.Value)),
		optional("timeout", d.duration(&h.Timeout)),
	}
}

func signaturesFields(d *decoder, s *SignaturesGate) []field {
	return []field{
		optional("key", d.text(&s.Key)),
		optional("identities", listOf(d, &s.Identities, identitiesFields)),
		optional("roots", d.text(&s.Roots)),
		optional("images", d.texts(&s.Images)),
	}
}

func identitiesFields(d *decoder, i *SigningIdentity) []field {
	return []field{
		required("issuer", d.text(&i.Issuer)),
		required("subject", d.text(&i.Subject)),
	}
}

func jobFields(d *decoder, j *JobGate) []field {
	return []field{
		required("namespace", d.text(&j.Namespace)),
		optional("name", d.text(&j.Name)),
		optional("selector", d.text(&j.Selector)),
	}
}

func pluginFields(d *decoder, p *PluginGate) []field {
	return []field{
		required("command", d.text(&p.Command)),
		required("sha256", d.text(&p.SHA256)),
		optional("timeout", d.duration(&p.Timeout)),
		optional("settings", func(v value) {
			p.Settings = map[string]string{}
			d.mapping(v, func(name string, keyNode, node *yaml.Node) {
				if inner, ok := d.enter(join(v.path, name), keyNode, node); ok {
					var text string
					d.text(&text)(inner)
					p.Settings[name] = text
				}
			})
		}),
	}
}

func destinationFields(d *decoder, t *Destination) []field {
	return []field{
		optional("cluster", d.text(&t.Cluster)),
		optional("server", d.text(&t.Server)),
		optional("namespace", d.text(&t.Namespace)),
	}
}

func applicationFields(d *decoder, a *Application) []field {
	return []field{
		optional("name", d.text(&a.Name)),
		required("path", d.text(&a.Path)),
		optional("renderer", oneOf(d, &a.Renderer, RendererKustomize, RendererHelm, RendererYAML)),
		optional("releaseName", d.text(&a.ReleaseName)),
		optional("values", d.texts(&a.Values)),
		optional("namespace", d.text(&a.Namespace)),
		optional("empty", d.flag(&a.Empty)),
	}
}

func capabilitiesFields(d *decoder, c *Capabilities) []field {
	return []field{
		optional("kubeVersion", d.text(&c.KubeVersion)),
		optional("apiVersions", d.texts(&c.APIVersions)),
	}
}
