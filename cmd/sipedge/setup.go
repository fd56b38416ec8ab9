package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

// setup reads the configuration and makes the edge of it, without opening a
// port: check and explain do the same as serve up to here. All faults are listed
// on w, and the error says only which exit code that is.
func setup(path string, log *slog.Logger, w io.Writer) (*settings.Settings, *edge.Edge, error) {
	var e *edge.Edge
	discovery, err := federation.OpenDiscovery(nil, nil, log)
	if err != nil {
		return nil, nil, err
	}
	s, errs := settings.Load(path, func(c edge.Config, p *federation.Partners) (errs []error) {
		e, errs = edge.New(c, p, discovery, log)
		return errs
	})
	if len(errs) == 0 {
		return s, e, nil
	}
	if e != nil {
		e.Close()
	}
	for _, err := range errs {
		fmt.Fprintln(w, err)
	}
	fmt.Fprintf(w, "%s: %s in the configuration\n", path, plural(len(errs), "fault"))
	return nil, nil, exit{code: exitConfiguration}
}
