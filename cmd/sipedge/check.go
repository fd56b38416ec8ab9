package main

import (
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
)

type checkCommand struct {
	configFlag
	Strict bool `help:"Exit with code 8 if there are warnings."`
}

// Run checks the configuration with the code that serve starts with, up to the
// ports, which it leaves alone.
func (c checkCommand) Run(s streams) error {
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), s.err)
	if err != nil {
		return err
	}
	defer e.Close()
	warned := len(e.Warnings())
	for _, w := range e.Warnings() {
		fmt.Fprintln(s.err, w)
	}
	for _, w := range set.Partners.Warnings() {
		w.Text = "warning: " + w.Text
		fmt.Fprintln(s.err, w)
		warned++
	}
	if err := summary(set, s); err != nil || warned == 0 || !c.Strict {
		return err
	}
	fmt.Fprintf(s.err, "%s: %s\n", c.Config, plural(warned, "warning"))
	return exit{code: exitNo}
}

// summary prints what the configuration amounts to.
func summary(set *settings.Settings, s streams) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	partners, blocked := set.Partners.Len()
	fmt.Fprintf(w, "ok\t%s, %s, %s, %d blocked\n",
		plural(len(set.Edge.Listeners), "listener"), plural(len(set.Edge.Pools), "pool"), plural(partners, "partner"), blocked)
	for _, name := range sorted(set.Edge.Listeners) {
		l := set.Edge.Listeners[name]
		fmt.Fprintf(w, "listener %s\t%s %s\n", name, l.Role, l.Address)
	}
	for _, name := range sorted(set.Edge.Pools) {
		p := set.Edge.Pools[name]
		fmt.Fprintf(w, "pool %s\t%s at %s\n", name, strings.Join(p.Domains, ", "), strings.Join(p.Servers, ", "))
	}
	if set.NoPartners {
		fmt.Fprintf(s.err, "there is no %s: nobody is a partner\n", set.PartnersPath)
	}
	return w.Flush()
}

// plural is "1 pool" or "2 pools".
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}
