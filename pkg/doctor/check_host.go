package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/kube"
)

// checkHost asks the server of a repository with the token that opens pull
// requests, where the configuration wants some.
func (x *examination) checkHost(ctx context.Context, n *notes, subject string, p *pipeline) {
	if x.CheckHost == nil || p.config == nil || p.config.Hotfixes.BackMerge != config.BackMergePullRequest {
		return
	}
	tokens, whose, err := x.hostTokens(ctx)
	if err != nil {
		n.trouble("Secret "+hostTokensSecret, err)
		return
	}
	fix, err := x.CheckHost(ctx, p.url, p.config.Source.Host, tokens)
	switch {
	case err == nil:
		n.ok(subject, "its host accepts the token of %s; whether it may open pull requests, only one tells", whose)
	case tokens != nil:
		n.fail(subject, fmt.Sprintf("no pull request can be opened with %s: %v", whose, err), strings.TrimPrefix(fix+"\n"+x.renewHostTokens(), "\n"))
	default:
		n.warn(subject, fmt.Sprintf("no pull request can be opened with %s, with the hook's perhaps: %v", whose, err), fix)
	}
}

// hostTokens are what the hook has for the APIs of git hosts, or nil for one's own.
func (x *examination) hostTokens(ctx context.Context) (map[string]string, string, error) {
	if x.OwnCredentials || x.Cluster == nil {
		return nil, own, nil
	}
	s, err := x.secret(ctx, hostTokensSecret)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return map[string]string{}, "the hook (there is no Secret " + hostTokensSecret + ")", nil
	case errors.Is(err, kube.ErrForbidden):
		return nil, own + " (Secret " + hostTokensSecret + " may not be read)", nil
	case err != nil:
		return nil, "", err
	}
	tokens := map[string]string{}
	for name, value := range s.Data {
		tokens[name] = strings.TrimSpace(string(value))
	}
	return tokens, "Secret " + hostTokensSecret, nil
}

func (x *examination) renewHostTokens() string {
	return "as installed, with components/host-tokens; each key is the name of the API's host:\n" +
		x.kubectl(`create secret generic %s --from-file="$API_HOST"="$HOST_TOKEN_FILE" --dry-run=client -o yaml`, hostTokensSecret) + " | " + applySecret
}
