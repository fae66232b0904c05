package messages

import "time"

// Link says whether peers on the tailnet can be expected to reach us.
type Link string

// The links, named as they appear in health and logs.
const (
	// LinkUnknown: nobody has looked yet.
	LinkUnknown Link = ""
	// LinkConnected: tailscaled runs, is logged in and has an address.
	LinkConnected Link = "connected"
	// LinkNotConnected: peers cannot reach us, or nobody can tell.
	LinkNotConnected Link = "not_connected"
	// LinkDisabled: the configuration says `mode = "off"`.
	LinkDisabled Link = "disabled"
)

// Impairment names something that is wrong while peers can still be expected
// to reach us. The set is closed: it is a metric label.
type Impairment string

// The impairments.
const (
	ImpairedControlOffline Impairment = "control_offline" // Self.Online is false
	ImpairedControlSilent  Impairment = "control_silent"  // Health: no map response for two minutes
	ImpairedNoDERP         Impairment = "no_derp"         // Health: no home relay connection
	ImpairedKeyExpiring    Impairment = "key_expiring"    // the node key expires within days
	ImpairedNameDiffers    Impairment = "name_differs"    // clients know the node by another name
	ImpairedUnreachable    Impairment = "unreachable"     // the configured peer does not answer pings
	ImpairedHealth         Impairment = "health"          // any other Health entry that touches connectivity
)

// Impairments lists every impairment once.
var Impairments = []Impairment{
	ImpairedControlOffline, ImpairedControlSilent, ImpairedNoDERP,
	ImpairedKeyExpiring, ImpairedNameDiffers, ImpairedUnreachable, ImpairedHealth,
}

// TailnetStatus is one classified look at tailscaled.
type TailnetStatus struct {
	Link   Link   `json:"link"`
	Reason Reason `json:"reason"` // empty when connected or disabled
	// Detail is tailscaled's own account of the trouble, for a person. It holds
	// no secret.
	Detail string `json:"detail"`
	// Backend is the name tailscaled gives its state ("Running",
	// "NeedsLogin", …), empty when it did not answer.
	Backend string `json:"backend"`
	// Impaired is sorted and without duplicates; empty unless connected.
	Impaired []Impairment `json:"impaired"`
	// Hostname is the node's real MagicDNS short name, DNSName the whole name
	// without the last dot, IP its address, IPv4 first. Each is empty when there
	// is none.
	Hostname string `json:"hostname"`
	DNSName  string `json:"dns_name"`
	IP       string `json:"ip"`
	// KeyExpiry is when the node key expires; zero when it does not.
	KeyExpiry time.Time `json:"key_expiry"`
	// At is when tailscaled answered, or when the look failed.
	At time.Time `json:"at"`
}
