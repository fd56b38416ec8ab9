package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sipedge/sipedge/edge"
)

// A demoEdge is an edge that runs within the demo, by the code of serve.
type demoEdge struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of the run; set when done is closed
}

// startDemoEdge serves from files, and returns when the ports are open.
func startDemoEdge(config string, log *slog.Logger) (*demoEdge, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &demoEdge{cancel: cancel, done: make(chan struct{})}
	ready := make(chan struct{})
	var faults bytes.Buffer
	go func() {
		defer close(d.done)
		d.err = serve(ctx, config, log, nil, &faults, func(*edge.Edge) { close(ready) })
	}()
	select {
	case <-ready:
		return d, nil
	case <-d.done:
		cancel()
		if faults.Len() > 0 {
			return nil, fmt.Errorf("%w\n%s", d.err, &faults)
		}
		return nil, errors.Join(d.err, errors.New("the edge ended at once"))
	}
}

// stop ends the edge and waits until it has ended.
func (d *demoEdge) stop() error {
	d.cancel()
	<-d.done
	return d.err
}
