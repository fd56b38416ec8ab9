package federation

import (
	"cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// section reads [federation] and returns the Rule for domains that are not
// listed.
func (c *compiler) section(s Section) allowlists.Rule {
	line := cmp.Or(s.UnlistedLine, s.Line)
	c.clearing(s)
	switch s.Unlisted {
	case "", "refuse":
	case "discover":
		c.unlisted = &terms{policy: certs.UsageFederation, verification: VerifyNever, unmarked: UnmarkedUnverified}
		if s.Upstream != nil {
			c.fault(line, `unlisted = "discover" and upstream in [federation] exclude each other: strangers are found by DNS, or the clearing house answers for them (unlisted = "upstream")`)
		}
	case "upstream":
		if c.unlisted = c.upstream; s.Upstream == nil {
			c.fault(line, `unlisted = "upstream" in [federation] needs upstream, the servers of the clearing house`)
		}
	default:
		c.fault(line, `unlisted = %q in [federation] is none of "refuse", "discover", "upstream"`, s.Unlisted)
	}
	if s.DiscoveredRate < 0 || s.SuspiciousRate < 0 || s.DiscoveredAddresses < 0 {
		c.fault(s.Line, "discovered_rate, suspicious_rate and discovered_addresses in [federation] must be more than 0; leave them out for the default")
	}
	if s.DiscoveredAddresses > MaxAddresses {
		c.fault(s.Line, "discovered_addresses in [federation] must be at most %d", MaxAddresses)
	}
	return allowlists.Rule{Name: "[federation] unlisted", File: c.file, Line: line}
}

// clearing reads the way to the clearing house.
func (c *compiler) clearing(s Section) {
	line := cmp.Or(s.UpstreamLine, s.Line)
	if s.Upstream == nil {
		if s.UpstreamName != "" {
			c.fault(s.Line, "upstream_name in [federation] needs upstream")
		}
		return
	}
	r := reader{t: &terms{
		policy: certs.UsageFederation, verification: VerifySource, unmarked: UnmarkedUnverified, upstream: true,
		// For those that nobody listed the clearing house alone may speak: their
		// own certificates would make open federation of it.
		only: true, network: NetworkSIP,
	}}
	if len(s.Upstream) == 0 {
		r.fault("upstream in [federation] is empty; leave it out to find partners by DNS")
	}
	r.way("upstream in [federation]:", s.Upstream)
	r.name("upstream_name in [federation]:", s.UpstreamName)
	for _, err := range r.errs {
		c.fault(line, "%v", err)
	}
	c.upstream = r.t
}

// Discovers reports whether partners are let in that nobody listed.
func (p *Partners) Discovers() bool { return p != nil && p.section.Unlisted == "discover" }

// Discovery returns the limits for partners that nobody listed.
func (p *Partners) Discovery() DiscoveryLimits {
	if p == nil {
		return DiscoveryLimits{}.Defaults()
	}
	s := p.section
	return DiscoveryLimits{s.DiscoveredRate, s.SuspiciousRate, s.DiscoveredAddresses}.Defaults()
}
