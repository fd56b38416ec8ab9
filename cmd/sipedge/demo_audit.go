package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// An auditLine is what an edge wrote in its log about one request.
type auditLine struct {
	Edge   string `json:"edge"`
	Method string `json:"method"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`

	callID, from string
}

// An auditLog remembers the audit lines of the demo's edges, so that a scene
// can show why a request was let through or refused in the edge's own words.
type auditLog struct {
	mu    sync.Mutex
	lines []auditLine
	more  chan struct{} // closed and replaced with each line
}

// maxAuditLines bounds the memory of a demo that stays up.
const maxAuditLines = 4096

func newAuditLog() *auditLog { return &auditLog{more: make(chan struct{})} }

func (l *auditLog) add(line auditLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) >= maxAuditLines {
		l.lines = slices.Delete(l.lines, 0, maxAuditLines/2)
	}
	l.lines = append(l.lines, line)
	close(l.more)
	l.more = make(chan struct{})
}

// of returns the lines about one call, the oldest first, and a channel that is
// closed when there may be more.
func (l *auditLog) of(callID string) ([]auditLine, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []auditLine
	for _, line := range l.lines {
		if line.callID == callID {
			lines = append(lines, line)
		}
	}
	return lines, l.more
}

// find waits for the line of one edge about one request. An edge writes it when
// the answer has gone, so its sender may be here first.
func (l *auditLog) find(ctx context.Context, edge, callID, method string) (auditLine, error) {
	return l.await(ctx, func(line auditLine) bool {
		return line.callID == callID && line.Edge == edge && line.Method == method
	})
}

// answered is find for the request of a call that had a certain answer.
func (l *auditLog) answered(ctx context.Context, edge, callID string, status int) (auditLine, error) {
	return l.await(ctx, func(line auditLine) bool { return line.callID == callID && line.Edge == edge && line.Status == status })
}

// answeredAt waits for the line of one edge about a call of which nothing else is known.
func (l *auditLog) answeredAt(ctx context.Context, edge, callID string) (auditLine, error) {
	return l.await(ctx, func(line auditLine) bool { return line.callID == callID && line.Edge == edge })
}

// signedIn waits for the line of one edge about a REGISTER that the home server took.
func (l *auditLog) signedIn(ctx context.Context, edge string) (auditLine, error) {
	return l.await(ctx, func(line auditLine) bool { return line.Edge == edge && line.Method == "REGISTER" && line.Status == 200 })
}

// await waits for the first line that is meant.
func (l *auditLog) await(ctx context.Context, is func(auditLine) bool) (auditLine, error) {
	for {
		l.mu.Lock()
		i, more := slices.IndexFunc(l.lines, is), l.more
		if i >= 0 {
			defer l.mu.Unlock()
			return l.lines[i], nil
		}
		l.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return auditLine{}, ctx.Err()
		}
	}
}

// An auditHandler passes an edge's log on to a file and its audit lines to the
// auditLog.
type auditHandler struct {
	slog.Handler
	edge string
	log  *auditLog
}

// Handle keeps the lines that name a call; no others do.
func (h *auditHandler) Handle(ctx context.Context, r slog.Record) error {
	line := auditLine{Edge: h.edge}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "call_id":
			line.callID = a.Value.String()
		case "from":
			line.from = a.Value.String()
		case "method":
			line.Method = a.Value.String()
		case "status":
			line.Status = int(a.Value.Int64())
		case "reason":
			line.Reason = a.Value.String()
		case "rule":
			line.Rule = a.Value.String()
		}
		return true
	})
	if line.callID != "" {
		h.log.add(line)
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the handler in the chain.
func (h *auditHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &auditHandler{h.Handler.WithAttrs(attrs), h.edge, h.log}
}

// WithGroup keeps the handler in the chain.
func (h *auditHandler) WithGroup(name string) slog.Handler {
	return &auditHandler{h.Handler.WithGroup(name), h.edge, h.log}
}
