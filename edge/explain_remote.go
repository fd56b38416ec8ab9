package edge

import (
	"fmt"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// explainUser makes the connection that of the user in From, as if the home server had
// said yes; what remote.toml says is asked then.
func (e *Edge) explainUser(f *Flow, q Query) {
	f.state.rule = allowlists.Rule{Name: "a listener for users", File: e.config.File}
	uri, err := sip.ParseURI([]byte("sip:" + q.From))
	aor, ok := appendAOR(nil, &uri)
	p := e.poolOf(domainPart(aor))
	if err != nil || !ok || p == nil || q.Method == "REGISTER" {
		return
	}
	domain := domainPart(aor)
	var groups []string
	if e.remote.Directory != nil && e.access.Load().AsksGroupsOf(uri.User, domain) {
		groups, _ = e.remote.Directory.Groups(e.ctx, string(uri.User), string(domain)) // without them, the rules say who may
	}
	s := &remoteaccess.SignIn{User: string(aor), Until: time.Now().Add(time.Hour), Terms: e.access.Load().Terms(uri.User, domain, groups)}
	f.state.signed.Store(&signIn{SignIn: s, pool: p, domain: domain})
}

// explainAccess tells explain whether remote.toml lets a user in. On the data path nobody
// is signed in whom it does not.
func (e *Edge) explainAccess(r *request, t *remoteaccess.Terms) allowlists.Verdict {
	v := allowlists.Verdict{Action: allowlists.Allow, Rule: t.Rule}
	if !t.Allow {
		v = allowlists.Refusal(allowlists.AccessNotEnabled, t.Rule)
	}
	return step(r, "access", t.Rule.Name, v)
}

// explainBan says whether a ban stops a user, and which others there are of him. Without
// credentials to try a ban stops nobody who is signed in.
func (e *Edge) explainBan(r *request, user string, signed bool) {
	g, from := e.remote.Guard, r.f.Remote.Addr()
	if g == nil {
		return
	}
	a := remoteaccess.Attempt{User: user, Signed: signed}
	if from.IsValid() {
		a.Source = remoteaccess.SourceOf(from)
	}
	tries := string(r.m.Method()) == "REGISTER" || r.note.tries
	if b := g.Look(a); b.Key != "" {
		v := allowlists.Refusal(allowlists.AccessLockedOut, allowlists.Rule{Name: "ban " + b.Key})
		detail := b.Key + ", " + ends(b)
		if !tries {
			v, detail = pass, detail+"; it stops nobody who is signed in already"
		}
		step(r, "ban", detail, v)
		return
	}
	var elsewhere []string
	for _, b := range g.List() {
		if strings.EqualFold(b.User, user) {
			elsewhere = append(elsewhere, b.Key)
		}
	}
	switch n := len(elsewhere); {
	case n > 1:
		step(r, "ban", fmt.Sprintf("not here, but %s and %d more", elsewhere[0], n-1), pass)
	case n == 1:
		step(r, "ban", "not here, but "+elsewhere[0], pass)
	default:
		step(r, "ban", "none of "+user, pass)
	}
}

// ends says when a ban does.
func ends(b remoteaccess.Ban) string {
	if b.Until.IsZero() {
		return "for ever"
	}
	return "until " + b.Until.UTC().Format("2006-01-02 15:04 UTC")
}

// explainOnward goes on where a request for another company goes to the home server
// first: that one sends it out again, if it likes, and then the lists are asked.
func (x *Explanation) explainOnward(e *Edge, q Query) error {
	q.Remote, q.Inside = false, true
	out, err := e.Explain(q)
	if err != nil {
		return err
	}
	refused := !x.Verdict.Allowed()
	x.Steps = append(x.Steps, Step{Name: "back", Detail: "as " + x.Target + " sends it out again", Passed: true, Late: refused})
	for _, s := range out.Steps {
		s.Late = s.Late || refused
		x.Steps = append(x.Steps, s)
	}
	if out.Target != "" {
		x.Target += ", then " + out.Target
	}
	if refused || out.Verdict.Allowed() {
		return nil
	}
	x.Verdict = out.Verdict
	x.Answer = []string{out.Answer[0] + ", or what the home server makes of it"}
	return nil
}
