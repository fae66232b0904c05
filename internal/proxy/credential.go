package proxy

import (
	"net/http"
	"strings"
)

// credentialOf sorts a request's credential without looking at more of it than
// its kind.
func credentialOf(h http.Header) Credential {
	if values := h["X-Api-Key"]; len(values) > 0 && !isPlaceholder(values[0]) {
		return CredentialAPIKey
	}
	values := h["Authorization"]
	if len(values) == 0 {
		if len(h["X-Api-Key"]) > 0 {
			return CredentialPlaceholder
		}
		return CredentialNone
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	switch token = strings.TrimSpace(token); {
	case !strings.EqualFold(scheme, "Bearer") && token == "" && isPlaceholder(scheme), isPlaceholder(token):
		return CredentialPlaceholder
	case strings.HasPrefix(token, "sk-ant-api"):
		return CredentialAPIKey
	}
	return CredentialOAuth
}

func isPlaceholder(token string) bool {
	switch strings.ToLower(strings.TrimSpace(token)) {
	case "", "-", "x", "none", "null", "nil", "undefined", "dummy", "placeholder", "unused", "changeme", "test":
		return true
	}
	return false
}
