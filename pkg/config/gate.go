package config

import "time"

// Gate is one condition of a promotion; exactly one field is set.
type Gate struct {
	Approval   *ApprovalGate
	Validation *ValidationGate
	Soak       *SoakGate
	Window     *WindowGate
	Freeze     *FreezeGate
	Prometheus *PrometheusGate
	HTTP       *HTTPGate
	Signatures *SignaturesGate
	Job        *JobGate
	Plugin     *PluginGate
}

// Name is what the gate is called in the configuration and the ledger.
func (g Gate) Name() string {
	for _, kind := range g.kinds() {
		if kind.set {
			return kind.name
		}
	}
	return ""
}

type gateKind struct {
	name string
	set  bool
	// once: a second one in the same environment could only contradict the first.
	once bool
}

func (g Gate) kinds() []gateKind {
	return []gateKind{
		{"approval", g.Approval != nil, true},
		{"validation", g.Validation != nil, true},
		{"soak", g.Soak != nil, true},
		{"window", g.Window != nil, false},
		{"freeze", g.Freeze != nil, false},
		{"prometheus", g.Prometheus != nil, false},
		{"http", g.HTTP != nil, false},
		{"signatures", g.Signatures != nil, false},
		{"job", g.Job != nil, false},
		{"plugin", g.Plugin != nil, false},
	}
}

// ApprovalGate wants people to agree: annotated tags
// approve/<environment>/<version>/<who>.
type ApprovalGate struct {
	// Count of different people. Default: 1.
	Count int
	// Signers is the path of a file of allowed signers on the source branch, in
	// the format of ssh-keygen(1). When given, only tags that one of them has
	// signed count. Default: signatures are not asked for.
	Signers string
	// NotSelf: those who wrote the source commit may not approve what it led to.
	// In the file that is "self: false".
	NotSelf bool
}

// ValidationGate wants somebody who tests, a person or CI, to have said in every
// environment before this one that the snapshot passed.
type ValidationGate struct{}

// SoakGate wants a snapshot to have been healthy for a while in every
// environment before this one.
type SoakGate struct {
	For time.Duration
}

// WindowGate lets promotions begin at certain times only.
type WindowGate struct {
	// Cron has five fields (minute, hour, day of the month, month, day of the
	// week), in the local time of Timezone.
	Cron string
	// Duration is how long the window is open.
	Duration time.Duration
	// Timezone such as Europe/Berlin. Default: UTC.
	Timezone string
}

// FreezeGate keeps promotions from beginning at certain times: each time that
// Cron names for Duration, or once, between From and Until.
type FreezeGate struct {
	Cron     string
	Duration time.Duration
	// From and Until are days, times of the clock in Timezone, or moments of
	// RFC 3339.
	From  string
	Until string
	// Timezone such as Europe/Berlin. Default: UTC.
	Timezone string
	// Reason is told to those who wait.
	Reason string
}

// PrometheusGate asks a Prometheus server.
type PrometheusGate struct {
	Server string
	Query  string
	// Pass is a comparison that every value has to satisfy: "< 0.01".
	Pass string
	// Empty is what an answer without values means: wait or pass. Default: it is
	// unknown.
	Empty string
}

// HTTPGate asks a web service.
type HTTPGate struct {
	URL string
	// Method is GET, the default, or POST.
	Method string
	// Field, dotted, of the JSON answer has to have the value Value.
	Field string
	Value string
	// Timeout of one question. Default: 10s.
	Timeout time.Duration
}

// SignaturesGate wants images to be signed, as cosign does.
type SignaturesGate struct {
	// Key is the path of a file of public keys in PEM on the source branch; a
	// signature by one of them is enough. Excludes Identities.
	Key string
	// Identities are those whose certificates may sign, one of which is enough.
	Identities []SigningIdentity
	// Roots is the path of Sigstore's trusted root, JSON, on the source branch:
	// who issues certificates and who keeps logs. Goes with Identities.
	Roots string
	// Images are patterns of the repositories, with their hosts, whose images have
	// to be signed; a * stands for any characters. Default: those in the
	// registries of the pipeline.
	Images []string
}

// SigningIdentity is whom certificates are issued to.
type SigningIdentity struct {
	// Issuer is the address of who vouches for the subject.
	Issuer string
	// Subject is an e-mail address or URI, in which a * stands for any characters.
	Subject string
}

// JobGate wants a Job of Kubernetes to have completed for the snapshot.
type JobGate struct {
	Namespace string
	// Name of the Job, or Selector by labels. Variables stand in both for what is
	// promoted.
	Name     string
	Selector string
}

// PluginGate asks a program, an executable that speaks the protocol of
// docs/gate-plugins.md.
type PluginGate struct {
	// Command is the program's file name in the hook's directory of plugins.
	Command string
	// SHA256 of the program in hexadecimal digits; another one is not started.
	SHA256 string
	// Timeout of one judgement. Default: 30s.
	Timeout time.Duration
	// Settings are handed to the program as they are.
	Settings map[string]string
}
