package proxy

import (
	"strings"

	"anthropic-oauth-proxy/internal/headers"
)

// credentialOf sorts a request's credential without looking at more of it than
// its kind.
func credentialOf(h headers.Fields) Credential {
	key, keys := h.Find("X-Api-Key")
	authorization, lines := h.Find("Authorization")
	switch {
	case keys > 0 && !isPlaceholder(key):
		return CredentialAPIKey
	case lines == 0 && keys > 0:
		return CredentialPlaceholder
	case lines == 0:
		return CredentialNone
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	switch token = strings.TrimSpace(token); {
	case !strings.EqualFold(scheme, "Bearer") && token == "" && isPlaceholder(scheme), isPlaceholder(token):
		return CredentialPlaceholder
	case strings.HasPrefix(token, "sk-ant-api"):
		return CredentialAPIKey
	}
	return CredentialOAuth
}

func isPlaceholder(token string) bool {
	if token = strings.TrimSpace(token); len(token) > len("placeholder") {
		return false
	}
	switch strings.ToLower(token) {
	case "", "-", "x", "none", "null", "nil", "undefined", "dummy", "placeholder", "unused", "changeme", "test":
		return true
	}
	return false
}
