package allowlists

import "slices"

// A Reason is the stable, dotted code of a Verdict. It is for the inside: the
// log, metrics and explain. A stranger sees the status and a standard phrase.
type Reason string

// The closed list of reasons. Whoever adds one adds its line in meanings, too:
// a test compares the two.
const (
	ReasonNone Reason = ""

	PartnerAllowed    Reason = "partner.allowed"
	PartnerBlocked    Reason = "partner.blocked"
	PartnerNotAllowed Reason = "partner.not_allowed"
	PartnerMethod     Reason = "partner.method"
	PartnerDirection  Reason = "partner.direction"
	PartnerDiscovered Reason = "partner.discovered"
	PartnerUpstream   Reason = "partner.upstream"
	PartnerExpired    Reason = "partner.expired"
	PartnerKind       Reason = "partner.kind"
	PartnerUser       Reason = "partner.user"
	PartnerNumber     Reason = "partner.number"
	PartnerSize       Reason = "partner.size"
	PartnerRate       Reason = "partner.rate"
	PartnerLimit      Reason = "partner.discovered_limit"
	PartnerWatched    Reason = "partner.watched"
	PartnerUnmarked   Reason = "partner.unmarked"

	IdentityNone           Reason = "identity.none"
	IdentityDomainMismatch Reason = "identity.domain_mismatch"
	IdentityOwnDomain      Reason = "identity.own_domain"
	IdentityUsage          Reason = "identity.usage"
	IdentityNotNamed       Reason = "identity.not_named"
	IdentityPin            Reason = "identity.pin"
	IdentityUnproven       Reason = "identity.unproven"

	AccessAllowed       Reason = "access.allowed"
	AccessSigningIn     Reason = "access.signing_in"
	AccessNotSignedIn   Reason = "access.not_signed_in"
	AccessNotEnabled    Reason = "access.user_not_enabled"
	AccessLockedOut     Reason = "access.locked_out"
	AccessFromMismatch  Reason = "access.from_mismatch"
	AccessDevices       Reason = "access.too_many_devices"
	AccessKind          Reason = "access.kind"
	AccessFederation    Reason = "access.federation"
	AccessBridges       Reason = "access.bridges"
	AccessDirectoryAway Reason = "access.directory_away"
	AccessRate          Reason = "access.rate"
	AccessFirstHop      Reason = "access.first_hop"

	InsideAllowed      Reason = "inside.allowed"
	InsideFromMismatch Reason = "inside.from_mismatch"

	BridgeNotEnabled  Reason = "bridge.not_enabled"
	BridgeNetwork     Reason = "bridge.network"
	BridgePaused      Reason = "bridge.paused"
	BridgeUnavailable Reason = "bridge.unavailable"
	BridgeLoop        Reason = "bridge.loop"
	BridgeScheme      Reason = "bridge.scheme"
	BridgeAddress     Reason = "bridge.address"

	DialogAllowed Reason = "dialog.allowed"

	RouteNotRelayed   Reason = "route.not_relayed"
	RoutePreloaded    Reason = "route.preloaded"
	RouteTokenInvalid Reason = "route.token_invalid"
	RouteNoRecords    Reason = "route.no_records"
	RouteDNSFailed    Reason = "route.dns_failed"
	RouteForbidden    Reason = "route.forbidden_address"
	RouteUnreachable  Reason = "route.unreachable"
	RouteFlowFailed   Reason = "route.flow_failed"
	RouteTimeout      Reason = "route.timeout"
	RouteChallenged   Reason = "route.challenged"
	RouteEdge         Reason = "route.edge"

	PoolUnavailable Reason = "pool.unavailable"

	SIPMalformed     Reason = "sip.malformed"
	SIPTooLarge      Reason = "sip.too_large"
	SIPLoop          Reason = "sip.loop"
	SIPTooManyHops   Reason = "sip.too_many_hops"
	SIPUnsupported   Reason = "sip.unsupported"
	SIPNoTransaction Reason = "sip.no_transaction"
	SIPCanceled      Reason = "sip.canceled"
	SIPMaxBreadth    Reason = "sip.max_breadth"

	LimitTransactions  Reason = "limit.transactions"
	LimitStopping      Reason = "limit.stopping"
	LimitSubscriptions Reason = "limit.subscriptions"
	LimitOverload      Reason = "limit.overload"
)

// A Meaning is what the documentation says about a Reason, and the SIP status
// that goes with it unless the Verdict names another. Status 0: no answer of
// ours, the request passed.
type Meaning struct {
	Reason Reason
	Status int
	Text   string
}

// Reasons returns the closed list with the meaning of each, in the order in
// which a request meets them.
func Reasons() []Meaning { return slices.Clone(meanings) }

var meanings = []Meaning{
	{SIPMalformed, 400, "The message breaks the grammar, or lacks a header field that every request has."},
	{SIPTooLarge, 513, "The message is over one of the limits in [limits]."},
	{SIPUnsupported, 420, "The request requires of a proxy what this one cannot do."},
	{SIPTooManyHops, 483, "Max-Forwards has run out."},
	{SIPLoop, 482, "The request has been here before, unchanged."},
	{SIPMaxBreadth, 440, "Max-Breadth has run out: the request was forked too often on its way."},
	{SIPNoTransaction, 481, "A CANCEL, an ACK or a response belongs to nothing that is open on this connection."},
	{SIPCanceled, 487, "The sender took its INVITE back."},
	{LimitTransactions, 503, "The peer has too many requests open."},
	{LimitStopping, 503, "The edge is being stopped: it finishes what it began, and takes nothing new."},
	{LimitOverload, 503, "The edge has more to do than it can: who sends most has to wait."},
	{LimitSubscriptions, 503, "The partner has as many subscriptions as one may have."},

	{IdentityNone, 403, "The peer proved no identity, and nobody is let in without one."},
	{IdentityNotNamed, 403, "The peer of an internal listener is none of those that may connect there."},
	{IdentityOwnDomain, 403, "From names a domain of ours, but the request comes from outside."},
	{IdentityDomainMismatch, 403, "The certificate does not speak for the domain in From (or, when we dial, for the partner)."},
	{IdentityUnproven, 504, "Whether the certificate is that of a server of the domain in From could not be found out: DNS did not answer."},
	{IdentityUsage, 403, "The certificate's extended key usage is not what peer_usage asks for."},
	{IdentityPin, 403, "The key of the certificate is none of those that the partner's entry pins."},

	{PartnerAllowed, 0, "The partner is listed, and may do this."},
	{PartnerBlocked, 403, "The domain is blocked."},
	{PartnerNotAllowed, 403, "The domain is not listed, and unlisted domains are refused."},
	{PartnerDirection, 403, "The partner is listed for the other direction only."},
	{PartnerMethod, 403, "The partner is listed, but not for this method."},
	{PartnerDiscovered, 0, "The domain is not listed; DNS and its certificate say who it is, and discovery is on."},
	{PartnerUpstream, 0, "The domain is not listed; the clearing house answers for it."},
	{PartnerExpired, 403, "The partner's entry is past its end date."},
	{PartnerKind, 403, "The partner is listed, but not for what this request carries."},
	{PartnerUser, 403, "The partner is listed, but not for this user on our side or on its own."},
	{PartnerNumber, 403, "The partner asks for a telephone number, which would cost us, and no entry of it says that it may."},
	{PartnerSize, 513, "The message is larger than the partner's entry allows."},
	{PartnerRate, 503, "The partner sends more than its entry allows."},
	{PartnerLimit, 503, "A discovered partner sends more than one may that nobody has listed."},
	{PartnerWatched, 403, "A discovered partner has asked for more of our addresses than one may: it is on the watch list until somebody decides."},
	{PartnerUnmarked, 403, "The partner's entry wants its messages marked as verified or not, and this one is not marked."},

	{AccessAllowed, 0, "A user of ours speaks, who is signed in on this connection, or is spoken to there."},
	{AccessSigningIn, 0, "A REGISTER from outside goes to the home server, which asks for the password and decides."},
	{AccessNotSignedIn, 403, "Nobody has signed in on this connection, or no longer: it may send REGISTER for our domains and nothing else."},
	{AccessNotEnabled, 403, "remote.toml does not let this user sign in from outside."},
	{AccessLockedOut, 403, "The user, the source or both together are locked out, because sign-ins failed or by command."},
	{AccessFromMismatch, 403, "From, To of a REGISTER, Contact, P-Preferred-Identity or Referred-By name somebody else than who signed in on this connection."},
	{AccessDevices, 403, "The user is signed in from as many devices as remote.toml allows."},
	{AccessKind, 403, "The user may sign in from outside, but not for what this request carries."},
	{AccessFederation, 403, "The user may sign in from outside, but not talk to other companies from there."},
	{AccessBridges, 403, "The user may sign in from outside, but not talk to public networks from there."},
	{AccessDirectoryAway, 503, "Which groups the user is in could not be asked: the directory is away, and the user is not known from before."},
	{AccessRate, 503, "Too many want to sign in: from one source, or to one pool."},
	{AccessFirstHop, 439, "The client asks for outbound, and something stands between it and the edge that does not know it (RFC 5626 §11.6)."},

	{BridgeNotEnabled, 403, "bridges.toml does not let this user of ours use the network this way. From outside it looks as if there was no such user (404)."},
	{BridgeNetwork, 403, "The partner's entry says that it is reached by another network."},
	{BridgeLoop, 403, "The request came from a bridge, and would leave by one."},
	{BridgeScheme, 403, "The request asks for TLS on all its way (sips), which no bridge can promise."},
	{BridgeAddress, 404, "The network has no address that the one in the request could be. The bridge says so itself, with the status that fits."},
	{BridgePaused, 480, "The bridge to the network is paused by an administrator."},
	{BridgeUnavailable, 504, "The bridge to the network does not run, or has more to do than it can take."},

	{InsideAllowed, 0, "A home server of ours sends for one of our domains."},
	{InsideFromMismatch, 403, "A home server sends for a domain that does not live in its pool."},
	{DialogAllowed, 0, "The request belongs to a dialog that this party takes part in: our signed token says so."},

	{RoutePreloaded, 403, "The request from outside brings a Route that is not ours."},
	{RouteTokenInvalid, 403, "The Route carries a token that we did not sign, or that was made for someone else."},
	{RouteNotRelayed, 403, "The request comes from outside and would leave to the outside again."},
	{RouteNoRecords, 504, "DNS names no edge for the partner."},
	{RouteDNSFailed, 504, "DNS did not answer, or answered with an error."},
	{RouteForbidden, 504, "DNS points the partner to an address that is private, or our own."},
	{RouteUnreachable, 504, "None of the partner's servers took the connection."},
	{RouteFlowFailed, 430, "The connection that the request must take is gone."},
	{RouteTimeout, 408, "The next hop took the request and did not answer in time."},
	{RouteChallenged, 403, "A server outside asked for credentials, which never leave."},
	{RouteEdge, 0, "The request is for the edge itself, as an OPTIONS that asks whether it is there."},
	{PoolUnavailable, 503, "No server of the pool is healthy."},
}

// Status returns the SIP status that goes with r: 403 for a Reason that is not
// in the list, so that a slip refuses.
func (r Reason) Status() int {
	for _, m := range meanings {
		if m.Reason == r {
			return m.Status
		}
	}
	return 403
}
