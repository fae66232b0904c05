package proxy

import (
	"hash/maphash"

	"anthropic-oauth-proxy/internal/admission"
	"anthropic-oauth-proxy/internal/headers"
)

// lineKeys tells callers apart in the line, by the tailnet node where it is
// known, else by the credential, else by the connection. The keys are hashes
// under a seed that lives and dies in this process's memory; they are never
// logged and never a label.
type lineKeys struct{ seed maphash.Seed }

func newLineKeys() lineKeys { return lineKeys{maphash.MakeSeed()} }

func (k lineKeys) of(kind, value string) admission.Caller {
	var h maphash.Hash
	h.SetSeed(k.seed)
	_, _ = h.WriteString(kind)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(value)
	return admission.Caller(h.Sum64())
}

func (k lineKeys) node(name string) admission.Caller { return k.of("node", name) }

// stranger is a caller without a name. A placeholder in a credential's place is
// nobody's own. Only without a credential it matters what peer says.
func (k lineKeys) stranger(h headers.Fields, peer func() string) admission.Caller {
	if class := credentialOf(h); class == CredentialOAuth || class == CredentialAPIKey {
		for _, name := range []string{"Authorization", "X-Api-Key"} {
			if value := h.Get(name); !isPlaceholder(value) {
				return k.of(name, value)
			}
		}
	}
	return k.of("connection", peer())
}
