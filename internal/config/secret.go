package config

import (
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Secret is text that prints as [redacted] wherever it is printed. The zero
// Secret is empty.
//
// The text stands behind a pointer because fmt prints a pointer to a string as
// an address: even inside somebody's unexported field, where fmt calls no
// methods, nothing shows.
type Secret struct{ text *string }

// NewSecret hides text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text, for the one place that must send it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a text.
func (s Secret) IsSet() bool { return s.text != nil }

// Format prints [redacted] for every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String is for printers other than fmt.
func (s Secret) String() string { return redacted }

// MarshalText covers JSON, TOML and zerolog's Interface.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
