package home

import (
	"slices"

	"github.com/emiago/sipgo/sip"
)

// A dialog is what both ends of a call or a subscription remember
// (RFC 3261 §12). Not safe for concurrent use.
type dialog struct {
	callID        string
	local, remote party
	target        sip.Uri   // the other end's contact
	routes        []sip.Uri // in the order in which requests take them
	seq           uint32
}

// A party is one end: its address and its tag.
type party struct {
	uri sip.Uri
	tag string
}

// answering is the dialog seen by who answered a request with the tag ours
// (RFC 3261 §12.1.1).
func answering(req *sip.Request, ours string) *dialog {
	theirs, _ := req.From().Params.Get("tag")
	d := &dialog{
		callID: req.CallID().Value(),
		local:  party{*req.To().Address.Clone(), ours},
		remote: party{*req.From().Address.Clone(), theirs},
		routes: recorded(req),
	}
	d.retarget(req)
	return d
}

// answered is the dialog seen by who got an answer (RFC 3261 §12.1.2).
func answered(req *sip.Request, res *sip.Response) *dialog {
	ours, _ := req.From().Params.Get("tag")
	theirs, _ := res.To().Params.Get("tag")
	d := &dialog{
		callID: req.CallID().Value(),
		local:  party{*req.From().Address.Clone(), ours},
		remote: party{*req.To().Address.Clone(), theirs},
		routes: recorded(res),
		seq:    req.CSeq().SeqNo,
	}
	slices.Reverse(d.routes)
	d.retarget(res)
	return d
}

func recorded(m sip.Message) []sip.Uri {
	var routes []sip.Uri
	for _, h := range m.GetHeaders("Record-Route") {
		routes = append(routes, *h.(*sip.RecordRouteHeader).Address.Clone())
	}
	return routes
}

// retarget takes the other end's newest contact (RFC 3261 §12.2.1.2).
func (d *dialog) retarget(m sip.Message) {
	if c := contactOf(m); c != nil {
		d.target = *c.Address.Clone()
	}
}

// request makes the next request of the dialog (RFC 3261 §12.2.1.1), without
// Via. An ACK has the number of its INVITE.
func (d *dialog) request(method sip.RequestMethod) *sip.Request {
	if method != sip.ACK {
		d.seq++
	}
	req := sip.NewRequest(method, d.target)
	for _, r := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	from := &sip.FromHeader{Address: *d.local.uri.Clone()}
	from.Params.Add("tag", d.local.tag)
	to := &sip.ToHeader{Address: *d.remote.uri.Clone()}
	to.Params.Add("tag", d.remote.tag)
	callID := sip.CallIDHeader(d.callID)
	forwards := sip.MaxForwardsHeader(70)
	for _, h := range []sip.Header{&forwards, from, to, &callID, &sip.CSeqHeader{SeqNo: d.seq, MethodName: method}} {
		req.AppendHeader(h)
	}
	return req
}

// key names the dialog by what our end knows of it from the first request on.
func (d *dialog) key() string { return d.callID + " " + d.local.tag }

// named reports whether a request belongs to the dialog.
func (d *dialog) named(req *sip.Request) bool {
	ours, _ := req.To().Params.Get("tag")
	theirs, _ := req.From().Params.Get("tag")
	return req.CallID().Value() == d.callID && ours == d.local.tag && theirs == d.remote.tag
}
