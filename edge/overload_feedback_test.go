package edge

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// asking is a request whose sender takes part in overload control.
func asking(text string) string {
	return strings.Replace(text, ";branch=", ";oc;oc-algo=\"loss\";branch=", 1)
}

var feedbackForm = regexp.MustCompile(`;oc=(\d+);oc-algo="loss";oc-validity=(\d+);oc-seq=(\d{1,12})\.(\d{1,5})$`)

// toldIn reads the feedback in the top Via of an answer: percent, how long it
// lasts, and its number in tens of microseconds.
func toldIn(t *testing.T, m *sip.Message) (percent, lasts, seq int) {
	t.Helper()
	via := string(m.Value(sip.Via))
	g := feedbackForm.FindStringSubmatch(via)
	if g == nil {
		t.Fatalf("no feedback in %q", via)
	}
	percent, _ = strconv.Atoi(g[1])
	lasts, _ = strconv.Atoi(g[2])
	seq, _ = strconv.Atoi(g[3] + g[4])
	return percent, lasts, seq
}

func TestWithoutOverloadThereIsNoWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		s.partner.state.known.Store(true)
		s.from(s.partner, asking(request1("MESSAGE", "m1")))
		m := s.expect(s.homes[0], "MESSAGE"+requestLine)
		s.from(s.homes[0], answer(m, 200, ""))
		if percent, lasts, _ := toldIn(t, s.expect(s.partner, "SIP/2.0 200 OK")); percent != 0 || lasts != 0 {
			t.Errorf("oc=%d;oc-validity=%d, want zeros", percent, lasts)
		}
		s.from(s.partner, asking(strings.Replace(request1("MESSAGE", "m2"), "bob@example.com", "bob@other.example", 1)))
		toldIn(t, s.expect(s.partner, "SIP/2.0 403 Forbidden"))
	})
}

func TestNobodyElseLearnsHowBusyWeAre(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		f    func(*storm) *Flow
	}{
		{"who does not ask", request1("MESSAGE", "m1"), func(s *storm) *Flow { s.partner.state.known.Store(true); return s.partner }},
		{"who is no partner", asking(request1("MESSAGE", "m1")), func(s *storm) *Flow { return s.partner }},
		{"who asks wrongly", strings.Replace(asking(request1("MESSAGE", "m1")), ";oc;", ";oc=7;", 1),
			func(s *storm) *Flow { s.partner.state.known.Store(true); return s.partner }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStorm(t)
				f := tt.f(s)
				s.from(f, tt.text)
				m := s.expect(s.homes[0], "MESSAGE"+requestLine)
				s.from(s.homes[0], answer(m, 200, ""))
				relayed := s.expect(f, "SIP/2.0 200 OK")
				s.from(f, strings.Replace(tt.text, "bob@example.com", "bob@other.example", 1))
				refused := s.expect(f, "SIP/2.0 403 Forbidden")
				for _, m := range []*sip.Message{relayed, refused} {
					if via := string(m.Value(sip.Via)); strings.Contains(via, "oc-seq") || strings.Contains(via, "oc-validity") {
						t.Errorf("told in %q", via)
					}
				}
			})
		})
	}
}

func TestAPartnerThatTakesPartIsToldByHowMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t)
		s.partner.state.known.Store(true)
		text := asking(request1("MESSAGE", "BRANCH"))
		last := func() *sip.Message {
			s.sent(s.partner)
			s.from(s.partner, strings.Replace(text, "BRANCH", "last"+strconv.Itoa(int(s.e.table.now())), 1))
			lines, m := s.sent(s.partner)
			if len(lines) > 0 {
				return m
			}
			_, req := s.sent(s.homes[0])
			s.from(s.homes[0], answer(req, 200, ""))
			_, m = s.sent(s.partner)
			return m
		}
		s.delay = 2 * delayTarget
		seq := 0
		for i := range 40 {
			s.tick(func() { s.flood(s.partner, 300, text) })
			percent, lasts, n := toldIn(t, last())
			if n < seq {
				t.Fatalf("oc-seq falls from %d to %d", seq, n)
			}
			seq = n
			if i > 30 && (percent < 10 || lasts != int(feedbackLasts.Milliseconds())) {
				t.Fatalf("oc=%d;oc-validity=%d in a flood", percent, lasts)
			}
		}
		s.delay = 0
		for range 100 {
			s.tick(nil)
		}
		percent, lasts, n := toldIn(t, last())
		if percent != 0 || lasts != 0 || n <= seq {
			t.Errorf("oc=%d;oc-validity=%d;oc-seq=%d after it, want zeros and more than %d", percent, lasts, n, seq)
		}
	})
}

func TestWhatIsAskedForIsWhatIsNeeded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		obeys  bool
		wants  float64
		expect [2]float64 // percent, from and to
	}{
		{"of one that obeys", true, 4 * megabyte, [2]float64{74, 76}},
		{"of one that does not, the most", false, 4 * megabyte, [2]float64{mostLess, mostLess}},
		{"of one that wants less than its share, nothing", true, 0.5 * megabyte, [2]float64{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d demand
			for range 50 {
				if d.last = tt.wants; tt.obeys {
					d.last *= 1 - d.percent/100
				}
				d.less(1 * megabyte)
			}
			if d.percent < tt.expect[0] || d.percent > tt.expect[1] {
				t.Errorf("%.1f %%, want %v", d.percent, tt.expect)
			}
		})
	}
}

func TestTheNumbersOfFeedbackGrow(t *testing.T) {
	var w overloadWatch
	last := int64(0)
	for range 1000 {
		n := w.sequence()
		if n < last+10 {
			t.Fatalf("%d follows %d", n, last)
		}
		last = n
	}
	if text := string(*feedback(20, 500*time.Millisecond, 1282321615_780000)); text != `oc=20;oc-algo="loss";oc-validity=500;oc-seq=1282321615.78000` {
		t.Error(text)
	}
}
