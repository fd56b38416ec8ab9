package main

import (
	"fmt"
	"log/slog"
	"text/tabwriter"

	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
)

type checkCommand struct {
	configFlag
}

// Run checks the configuration with the code that serve starts with, up to the
// ports, which it leaves alone.
func (c checkCommand) Run(s streams) error {
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), s.err)
	if err != nil {
		return err
	}
	defer e.Close()
	return summary(set, s)
}

// summary prints what the configuration amounts to.
func summary(set *settings.Settings, s streams) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	partners, blocked := set.Partners.Len()
	fmt.Fprintf(w, "ok\t%d listeners, %d pools, %d partners, %d blocked\n",
		len(set.Edge.Listeners), len(set.Edge.Pools), partners, blocked)
	for _, name := range sorted(set.Edge.Listeners) {
		l := set.Edge.Listeners[name]
		fmt.Fprintf(w, "listener %s\t%s %s\n", name, l.Role, l.Address)
	}
	for _, name := range sorted(set.Edge.Pools) {
		p := set.Edge.Pools[name]
		fmt.Fprintf(w, "pool %s\t%v at %v\n", name, p.Domains, p.Servers)
	}
	if set.NoPartners {
		fmt.Fprintf(s.err, "there is no %s: nobody is a partner\n", set.PartnersPath)
	}
	return w.Flush()
}
