package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// bothHandlers writes one line with slog's handler and with ours.
func bothHandlers(write func(*slog.Logger)) (want, got string) {
	var a, b bytes.Buffer
	now := time.Date(2026, 2, 11, 12, 30, 1, 7e6, time.UTC)
	write(slog.New(at{slog.NewTextHandler(&a, nil), now}))
	write(slog.New(at{newTextHandler(&b, slog.LevelInfo), now}))
	return a.String(), b.String()
}

// at gives each record the same time.
type at struct {
	slog.Handler
	time time.Time
}

func (h at) Handle(ctx context.Context, r slog.Record) error {
	r.Time = h.time
	return h.Handler.Handle(ctx, r)
}
func (h at) WithAttrs(a []slog.Attr) slog.Handler { return at{h.Handler.WithAttrs(a), h.time} }
func (h at) WithGroup(n string) slog.Handler      { return at{h.Handler.WithGroup(n), h.time} }

func TestOurHandlerWritesWhatSlogsDoes(t *testing.T) {
	for name, write := range map[string]func(*slog.Logger){
		"an audit line": func(l *slog.Logger) {
			l.Info("request forwarded", "flow", uint64(7), "method", "MESSAGE", "from", "bob@fabrikam.example", "status", 200, "ms", 1.25, "rule", "partner fabrikam.example (partners.toml:4)")
		},
		"empty and odd strings": func(l *slog.Logger) {
			l.Info("", "a", "", "b", "x y", "c", `"`, "d", "k=v", "e", "\x1b[31m", "f", "\u202e", "g", "bücher", "h", "\xff", "i", "a\u00a0b")
		},
		"an odd key": func(l *slog.Logger) { l.Info("m", "a b", 1, "", 2, `q"`, 3) },
		"other kinds": func(l *slog.Logger) {
			l.Warn("m", "d", time.Second, "t", time.Unix(0, 0).UTC(), "b", true, "i", -3, "n", nil)
		},
		"errors": func(l *slog.Logger) { l.Error("m", "err", errors.New("no such thing")) },
		"marshalers": func(l *slog.Logger) {
			l.Info("m", "addr", netip.MustParseAddrPort("[2001:db8::1]:5061"), "raw", []byte("x y"))
		},
		"structs": func(l *slog.Logger) { l.Info("m", "s", struct{ A, B int }{1, 2}) },
		"groups": func(l *slog.Logger) {
			l.Info("m", slog.Group("g", "a", 1, slog.Group("h", "b", 2)), slog.Group("", "c", 3), slog.Group("e"))
		},
		"with":        func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", "x y").Info("m", "c", 3) },
		"levels":      func(l *slog.Logger) { l.Log(context.Background(), slog.LevelWarn+1, "m") },
		"below level": func(l *slog.Logger) { l.Debug("m") },
		"an empty attribute": func(l *slog.Logger) {
			l.LogAttrs(context.Background(), slog.LevelInfo, "m", slog.Attr{}, slog.Int("a", 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if want, got := bothHandlers(write); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestTheTimeIsThatOfTheRecord(t *testing.T) {
	var b bytes.Buffer
	h := newTextHandler(&b, slog.LevelInfo)
	zone := time.FixedZone("", 3600)
	for _, at := range []time.Time{time.Unix(0, 5e6).UTC(), time.Unix(0, 999_999_999).UTC(), time.Unix(1, 0).UTC(), time.Unix(2, 0).In(zone)} {
		h.Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, "m", 0))
	}
	want := "time=1970-01-01T00:00:00.005Z level=INFO msg=m\ntime=1970-01-01T00:00:00.999Z level=INFO msg=m\n" +
		"time=1970-01-01T00:00:01.000Z level=INFO msg=m\ntime=1970-01-01T01:00:02.000+01:00 level=INFO msg=m\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func FuzzTextHandler(f *testing.F) {
	f.Add("request forwarded", "from", "bob@fabrikam.example", 1.5, int64(200))
	f.Add("", "a b", "\u202e\xff=\"", 0.0, int64(-1))
	f.Fuzz(func(t *testing.T, msg, key, value string, ms float64, n int64) {
		if strings.Contains(msg+key+value, "\x7f") {
			return // slog leaves it as it is
		}
		want, got := bothHandlers(func(l *slog.Logger) { l.Info(msg, key, value, "ms", ms, "n", n, slog.Group(key, "v", value)) })
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func BenchmarkTextHandler(b *testing.B) {
	for name, h := range map[string]slog.Handler{
		"slog": slog.NewTextHandler(io.Discard, nil),
		"ours": newTextHandler(io.Discard, slog.LevelInfo),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := slog.NewRecord(time.Now(), slog.LevelInfo, "request forwarded", 0)
				r.AddAttrs(slog.Uint64("flow", 3877017936939360), slog.String("method", "MESSAGE"),
					slog.String("from", "bob@fabrikam.example"), slog.String("to", "alice@example.com"),
					slog.Int("status", 200), slog.String("reason", "partner.allowed"),
					slog.String("rule", "partner fabrikam.example (partners.toml:12)"),
					slog.Float64("ms", 1.234), slog.String("target", "pool main 127.0.0.1:5061"),
					slog.String("call_id", "7f3a@edge.fabrikam.example"))
				h.Handle(b.Context(), r)
			}
		})
	}
}

type faultyText struct{ s string }

func (f *faultyText) MarshalText() ([]byte, error) { return []byte(f.s), nil }

func TestAValueThatPanicsCostsNothingButItsText(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newTextHandler(&b, slog.LevelInfo))
	log.Info("a", "k", (*faultyText)(nil), "after", 1)
	log.Info("b")
	if got := b.String(); !strings.Contains(got, `k="!PANIC: `) || !strings.Contains(got, " after=1\n") || !strings.Contains(got, "msg=b") {
		t.Errorf("the log says %q", got)
	}
}
