package proxy

// Outcome says how a request ended. The set is closed: it is a metric label.
type Outcome string

// The outcomes.
const (
	Completed     Outcome = "completed"
	ClientGone    Outcome = "client_gone"
	UpstreamError Outcome = "upstream_error"
	UpstreamCut   Outcome = "upstream_cut"
	IdleTimeout   Outcome = "idle_timeout"
	Drained       Outcome = "drained"
	Refused       Outcome = "refused"
)

// Outcomes lists every outcome once.
var Outcomes = []Outcome{Completed, ClientGone, UpstreamError, UpstreamCut, IdleTimeout, Drained, Refused}

// Failed reports whether the outcome is an error of ours or a broken stream.
func (o Outcome) Failed() bool { return o != Completed && o != ClientGone }

// ErrorType says what went wrong between a client and the API. The set is
// closed: it is a metric label.
type ErrorType string

// The error types.
const (
	TypeTimeout        ErrorType = "timeout"
	TypeConnection     ErrorType = "connection"
	TypeTLS            ErrorType = "tls"
	TypeUpstreamCut    ErrorType = "upstream_cut"
	TypeIdleTimeout    ErrorType = "idle_timeout"
	TypeInvalidRequest ErrorType = "invalid_request"
	TypeTooLarge       ErrorType = "too_large"
	TypeOverloaded     ErrorType = "overloaded"
	TypeDraining       ErrorType = "draining"
	TypeInternal       ErrorType = "internal"
)

// ErrorTypes lists every error type once.
var ErrorTypes = []ErrorType{TypeTimeout, TypeConnection, TypeTLS, TypeUpstreamCut, TypeIdleTimeout,
	TypeInvalidRequest, TypeTooLarge, TypeOverloaded, TypeDraining, TypeInternal}

// Credential is the class of a request's credential, never the credential.
type Credential string

// The classes. A placeholder is what a misconfigured gateway sends.
const (
	CredentialOAuth       Credential = "oauth"
	CredentialAPIKey      Credential = "api_key"
	CredentialPlaceholder Credential = "placeholder"
	CredentialNone        Credential = "none"
)

// Credentials lists every class once.
var Credentials = []Credential{CredentialOAuth, CredentialAPIKey, CredentialPlaceholder, CredentialNone}

// repeat names what made it safe to repeat an attempt.
type repeat string

// The reasons.
const (
	retryConnect repeat = "connect"
	retryDead    repeat = "dead_connection"
	retryRefused repeat = "refused"
	retryTimeout repeat = "timeout"
	retryReset   repeat = "reset"
)

// repeats lists every reason once.
var repeats = []repeat{retryConnect, retryDead, retryRefused, retryTimeout, retryReset}

// Party is who ended an exchange. The set is closed: it is a metric label.
type Party string

// The parties. A whole answer is ended by the API; the tailnet is to blame where
// a client was lost while the tailnet was.
const (
	ByClient   Party = "client"
	ByProxy    Party = "proxy"
	ByTailnet  Party = "tailnet"
	ByUpstream Party = "upstream"
)

// Parties lists every party once.
var Parties = []Party{ByClient, ByProxy, ByTailnet, ByUpstream}

// Phase is where an exchange stands, or ended. The set is closed: it is a metric
// label.
type Phase string

// The phases, in their order; a request without a body has no upload.
const (
	InAdmit  Phase = "admit"  // its head is judged, and it waits for a place
	InUpload Phase = "upload" // its body is read
	InWait   Phase = "wait"   // the API has it, or is about to, and has not answered
	InStream Phase = "stream" // the answer's head has come
)

// Phases lists every phase once.
var Phases = []Phase{InAdmit, InUpload, InWait, InStream}

// statusClientGone is nginx's, for the records only: nobody is there to get it.
const statusClientGone = 499
