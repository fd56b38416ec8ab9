package edge

import (
	"bytes"
	"fmt"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// A diagnostic is a number for why, as [MS-OCER] has them. It says no more than
// its status does to whom it must not: nothing in the text is about us.
type diagnostic struct {
	id   int
	text string
}

// diagnostics are the numbers of those reasons for which there is one.
var diagnostics = map[allowlists.Reason]diagnostic{
	allowlists.BridgeNotEnabled: {1001, "From URI not authorized to communicate with public IM providers"},
	allowlists.AccessBridges:    {1001, "From URI not authorized to communicate with public IM providers"},

	allowlists.PartnerDirection: {1002, "From URI not authorized to communicate with federated partners"},
	allowlists.PartnerNumber:    {1002, "From URI not authorized to communicate with federated partners"},
	allowlists.PartnerUser:      {1002, "From URI not authorized to communicate with federated partners"},

	allowlists.SIPNoTransaction:  {1004, "Route set is no longer valid"},
	allowlists.RoutePreloaded:    {1004, "Route set is no longer valid"},
	allowlists.RouteTokenInvalid: {1004, "Route set is no longer valid"},

	allowlists.PartnerBlocked:    {1005, "Cannot route to destination domain"},
	allowlists.PartnerNotAllowed: {1005, "Cannot route to destination domain"},
	allowlists.PartnerExpired:    {1005, "Cannot route to destination domain"},
	allowlists.PartnerWatched:    {1005, "Cannot route to destination domain"},
	allowlists.BridgeNetwork:     {1005, "Cannot route to destination domain"},

	allowlists.LimitTransactions:  {1007, "Temporarily cannot route"},
	allowlists.LimitStopping:      {1007, "Temporarily cannot route"},
	allowlists.LimitOverload:      {1007, "Temporarily cannot route"},
	allowlists.LimitSubscriptions: {1007, "Temporarily cannot route"},
	allowlists.PartnerRate:        {1007, "Temporarily cannot route"},
	allowlists.PartnerLimit:       {1007, "Temporarily cannot route"},
	allowlists.PoolUnavailable:    {1007, "Temporarily cannot route"},
	allowlists.BridgePaused:       {1007, "Temporarily cannot route"},
	allowlists.BridgeUnavailable:  {1007, "Temporarily cannot route"},
	allowlists.RouteFlowFailed:    {1007, "Temporarily cannot route"},
	allowlists.RouteTimeout:       {1007, "Temporarily cannot route"},

	allowlists.RouteNoRecords:   {1008, "Unable to resolve DNS SRV record"},
	allowlists.IdentityUnproven: {1008, "Unable to resolve DNS SRV record"},
	allowlists.RouteForbidden:   {1009, "DNS SRV record and host conflict"},

	allowlists.IdentityDomainMismatch: {1010, "Certificate trust with another server could not be established"},
	allowlists.IdentityUsage:          {1010, "Certificate trust with another server could not be established"},
	allowlists.IdentityPin:            {1010, "Certificate trust with another server could not be established"},

	// One number for who may not, who is locked out and who does not exist: see tryRegister.
	allowlists.AccessNotEnabled:   {4003, "From is not enabled for remote access"},
	allowlists.AccessLockedOut:    {4003, "From is not enabled for remote access"},
	allowlists.AccessFromMismatch: {4004, "Credentials provided are not authorized to act as specified From URI"},
	allowlists.AccessDevices:      {1007, "Temporarily cannot route"},
	allowlists.AccessRate:         {1007, "Temporarily cannot route"},
	allowlists.AccessFederation:   {1002, "From URI not authorized to communicate with federated partners"},

	allowlists.InsideFromMismatch: {1012, "From URI not authorized to communicate outside the enterprise"},
	allowlists.RouteDNSFailed:     {1014, "Unable to resolve DNS record"},
	allowlists.IdentityOwnDomain:  {1017, "Cannot route From and To domains in this combination"},
	allowlists.BridgeLoop:         {1017, "Cannot route From and To domains in this combination"},
	allowlists.RouteNotRelayed:    {1017, "Cannot route From and To domains in this combination"},
	allowlists.PartnerMethod:      {1027, "Cannot route this type of SIP request to or from federated partners"},
	allowlists.PartnerKind:        {1027, "Cannot route this type of SIP request to or from federated partners"},
	allowlists.RouteUnreachable:   {1047, "Connection to the partner's edge failed"},
}

// silentPartner is for the inside: a partner refused and did not say why.
var silentPartner = diagnostic{1034, "Previous hop federated peer did not report diagnostic information"}

// appendInside appends d for a home server. It names us, and never leaves.
func (d diagnostic) appendInside(dst []byte, e *Edge) []byte {
	return fmt.Appendf(dst, "ms-diagnostics: %d;reason=\"%s\";source=\"%s\"\r\n", d.id, d.text, e.name)
}

// appendDiagnostics appends the number of a reason to an answer of ours: inside
// always; to a partner in the form without a source, if it is listed and we
// speak the dialect at all.
func (e *Edge) appendDiagnostics(dst []byte, f *Flow, m *sip.Message, reason allowlists.Reason) []byte {
	dst = e.appendGenerated(dst, f)
	d, ok := diagnostics[reason]
	switch {
	case !ok:
		return dst
	case f.Role == RoleInternal:
		return d.appendInside(dst, e)
	case e.msft && (f.Role == RoleRemote || e.listedPeer(f, m)):
		return fmt.Appendf(dst, "ms-diagnostics-public: %d;reason=\"%s\"\r\n", d.id, d.text)
	}
	return dst
}

// listedPeer reports whether m came from a partner that somebody here listed:
// one whose certificate speaks for the domain in From.
func (e *Edge) listedPeer(f *Flow, m *sip.Message) bool {
	uri, err := m.FromURI()
	if err != nil || f.Role != RoleFederation {
		return false
	}
	domain := sip.AppendDomain(nil, uri.Host)
	lists := e.partners.Load()
	v := lists.Speaks(f.Peer, domain, "")
	if v.Reason == allowlists.IdentityDomainMismatch {
		if hosts, ok := e.locator.CachedTargets(string(domain)); ok {
			v = lists.Speaks(f.Peer, domain, lists.TargetOf(f.Peer, domain, hosts))
		}
	}
	return v.Allowed() && v.Reason == allowlists.PartnerAllowed
}

// appendRelayed appends why a partner refused what came from inside: what it
// says itself if it is listed, or that it says nothing.
func (b border) appendRelayed(dst []byte, e *Edge, m *sip.Message) []byte {
	n := len(dst)
	if listed(b.partner()) {
		dst = appendPublic(dst, m)
	}
	if len(dst) > n {
		return dst
	}
	return silentPartner.appendInside(dst, e)
}

// appendPublic appends what a message says in ms-diagnostics-public, once, and
// only if it is well-formed.
func appendPublic(dst []byte, m *sip.Message) []byte {
	if m.Count(sip.MSDiagnosticsPublic) == 0 {
		return dst
	}
	elems := m.Elements(sip.MSDiagnosticsPublic)
	for {
		value, ok := elems.Next()
		if !ok {
			return dst
		}
		if isPublic(value) {
			return append(append(append(dst, "ms-diagnostics-public: "...), value...), "\r\n"...)
		}
	}
}

// maxPublic bounds a diagnostic of somebody else.
const maxPublic = 512

// isPublic reports whether value is a diagnostic that may cross the border
// (number, optional subnumber, parameters with a reason) and names no source.
func isPublic(value []byte) bool {
	id, params, _ := bytes.Cut(value, []byte(";"))
	number, sub, dotted := bytes.Cut(id, []byte("."))
	if len(value) > maxPublic || !isNumber(number) || dotted && !isNumber(sub) {
		return false
	}
	reason := false
	for more := len(params) > 0; more; {
		name, rest, ok := cutDiagnostic(params)
		if !ok || bytes.EqualFold(name, []byte("source")) {
			return false
		}
		reason = reason || bytes.EqualFold(name, []byte("reason"))
		if more = len(rest) > 0; more && (rest[0] != ';' || len(rest) == 1) {
			return false
		}
		params = bytes.TrimPrefix(rest, []byte(";"))
	}
	return reason
}

// cutDiagnostic reads name="text" from the front of params: no blanks around,
// and plain characters only, since it goes into logs and onto screens.
func cutDiagnostic(params []byte) (name, rest []byte, ok bool) {
	name, rest, ok = bytes.Cut(params, []byte(`="`))
	if !ok || !isParamName(name) {
		return nil, nil, false
	}
	for i, c := range rest {
		switch {
		case c == '"':
			return name, rest[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// isParamName reports whether b is a name as diagnostics have them.
func isParamName(b []byte) bool {
	for _, c := range b {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return len(b) > 0
}

// isNumber reports whether b is a number of at most nine digits.
func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 9
}
