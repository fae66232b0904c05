// Package headers holds the header rules of the data plane: what is added to a
// request on its way to the API, and what never travels past this proxy.
//
// It says what a header is, [Fields], from the client's socket to the API's and
// back: lines, in their order, with names as they were spelled. It keeps no state
// between requests, and never logs or prints a header value.
package headers

import (
	"fmt"
	"iter"
	"net/textproto"
	"slices"
	"strings"
)

// The capability that the API wants to see beside an OAuth token.
const (
	BetaName    = "Anthropic-Beta"
	OAuthMember = "oauth-2025-04-20"
)

// Mode says what a [Rule] does about the lines that a request already carries.
type Mode string

// The modes, named as in the configuration file.
const (
	// ModeMerge appends to the comma-separated list what is not yet in it.
	ModeMerge Mode = "merge"
	// ModeSet replaces whatever is there.
	ModeSet Mode = "set"
	// ModeDefault speaks only when the request does not carry the header.
	ModeDefault Mode = "default"
)

// A Rule adds one header to every request. [NewRule] makes it; it is immutable
// and safe for concurrent use. The zero Rule does nothing.
//
// The value stands behind pointers because fmt prints a pointer to a string as
// an address: not even a Rule deep inside somebody's unexported field can put
// its value into a log.
type Rule struct {
	name    string // canonical
	mode    Mode
	value   *string
	members []*string // the parts of value between its commas, trimmed
}

// RuleError says why [NewRule] refused. It never holds a header's value, nor a
// name that may be a value in the wrong place.
type RuleError struct {
	Field   string // "name", "value" or "mode"
	Problem string
	Remedy  string
}

// Error reads "make header rule: field problem; remedy".
func (e *RuleError) Error() string {
	return fmt.Sprintf("make header rule: %s %s; %s", e.Field, e.Problem, e.Remedy)
}

// NewRule validates a rule of the configuration. An empty mode means merge for
// anthropic-beta, which is an open list, and set for any other name. Errors are
// of type [*RuleError].
func NewRule(name, value, mode string) (Rule, error) {
	if err := checkName(name); err != nil {
		return Rule{}, err
	}
	if err := checkValue(value); err != nil {
		return Rule{}, err
	}
	r := Rule{
		name:  textproto.CanonicalMIMEHeaderKey(name),
		mode:  Mode(mode),
		value: &value,
	}
	for m := range members(value) {
		r.members = append(r.members, &m)
	}
	switch r.mode {
	case "":
		r.mode = ModeSet
		if r.name == BetaName {
			r.mode = ModeMerge
		}
	case ModeMerge, ModeSet, ModeDefault:
	default:
		return Rule{}, &RuleError{"mode", "is unknown", "write merge, set or default"}
	}
	if r.mode == ModeMerge && len(r.members) == 0 {
		return Rule{}, &RuleError{"value", "has no member to merge", "write what the list must contain"}
	}
	return r, nil
}

// Name is the canonical name of the header.
func (r Rule) Name() string { return r.name }

// Mode is what the rule does about lines that are already there.
func (r Rule) Mode() Mode { return r.mode }

// Value is the value of the configuration. It may be confidential: only a
// request may carry it.
func (r Rule) Value() string {
	if r.value == nil {
		return ""
	}
	return *r.value
}

// String describes the rule without its value.
func (r Rule) String() string { return string(r.mode) + " " + r.name }

// Apply makes f obey the rule and returns it. f must be the caller's own. When
// it already obeys, nothing changes and nothing is allocated.
func (r Rule) Apply(f Fields) Fields {
	switch r.mode {
	case ModeMerge:
		for _, member := range r.members {
			if !lists(f.Values(r.name), *member) {
				f = appendMember(f, r.name, *member)
			}
		}
	case ModeSet:
		if first, lines := f.Find(r.name); lines != 1 || first != *r.value {
			f = append(f.Without(r.name), Field{r.name, *r.value})
		}
	case ModeDefault:
		if !f.Has(r.name) {
			f = append(f, Field{r.name, *r.value})
		}
	}
	return f
}

// AddsOAuth reports whether the rules give every request the OAuth capability.
// A rule that only speaks when anthropic-beta is absent does not: clients send
// members of their own.
func AddsOAuth(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return r.name == BetaName && r.mode != ModeDefault && lists(Fields{{r.name, r.Value()}}.Values(r.name), OAuthMember)
	})
}

// lists reports whether the list that all lines form together has the member.
func lists(lines iter.Seq[string], member string) bool {
	for line := range lines {
		for m := range members(line) {
			if m == member {
				return true
			}
		}
	}
	return false
}

// appendMember puts the member at the end of the last line of the name.
func appendMember(f Fields, name, member string) Fields {
	for i := len(f) - 1; i >= 0; i-- {
		if !Same(f[i].Name, name) {
			continue
		}
		switch tail := strings.TrimRight(f[i].Value, ows); {
		case tail == "":
			f[i].Value = member
		case strings.HasSuffix(tail, ","):
			f[i].Value += member
		default:
			f[i].Value += "," + member
		}
		return f
	}
	return append(f, Field{name, member})
}
