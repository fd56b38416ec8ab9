package edge

import (
	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// kindsOf says what a request carries.
func kindsOf(m *sip.Message) allowlists.Kinds { return allowlists.KindOther }
