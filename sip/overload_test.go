package sip

import (
	"strings"
	"testing"
)

func TestWhoTakesPartInOverloadControl(t *testing.T) {
	for _, tt := range []struct {
		name   string
		params string
		want   bool
	}{
		{"nobody who says nothing", "", false},
		{"who offers it", `;oc;oc-algo="loss"`, true},
		{"among other parameters, in odd spelling", ";rport ; OC ; branch=z9hG4bK1; Oc-Algo = \"rate, Loss\";x=y", true},
		{"not who knows only other algorithms", `;oc;oc-algo="rate"`, false},
		{"not who names none", ";oc", false},
		{"not who does not quote them", ";oc;oc-algo=loss", false},
		{"not who names what is no algorithm", `;oc;oc-algo="loss,a-b"`, false},
		{"not who asks us to do it", `;oc=10;oc-algo="loss"`, false},
		{"not who says what a server says", `;oc;oc-algo="loss";oc-validity=500`, false},
		{"not who numbers it", `;oc;oc-algo="loss";oc-seq=1.1`, false},
		{"not who says it twice", `;oc;oc;oc-algo="loss"`, false},
		{"not a parameter that begins alike", `;och;oc-algo="loss"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, _, err := ParseVia([]byte("SIP/2.0/TLS edge.fabrikam.example" + tt.params + " , SIP/2.0/TLS b.example"))
			if err != nil {
				t.Fatal(err)
			}
			if v.Throttles != tt.want {
				t.Errorf("takes part: %v, want %v", v.Throttles, tt.want)
			}
		})
	}
}

const feedback = `oc=20;oc-algo="loss";oc-validity=500;oc-seq=1282321615.78`

func TestFeedbackStandsInTheViaThatComesOutOnTop(t *testing.T) {
	const ours = "Via: SIP/2.0/TLS edge1.example.com;branch=z9hG4bK1"
	for _, tt := range []struct {
		name string
		vias string
		want string
	}{
		{"in a line of its own", ours + "\nVia: SIP/2.0/TLS a.example;oc;branch=z9hG4bK2;oc-algo=\"loss\";x=y\nVia: SIP/2.0/TLS b.example;oc\n",
			"Via: SIP/2.0/TLS a.example;branch=z9hG4bK2;x=y;{feedback}\nVia: SIP/2.0/TLS b.example;oc\n"},
		{"behind ours in one line", ours + " , SIP/2.0/TLS a.example;oc;oc-algo=\"loss\" , SIP/2.0/TLS b.example;oc\n",
			"Via: SIP/2.0/TLS a.example;{feedback} , SIP/2.0/TLS b.example;oc\n"},
		{"whatever others wrote there", ours + "\nv:SIP/2.0/TLS a.example:5061 ; oc = 99 ; oc-seq=7.1 ;  oc-validity=0 ; oc-algo=\"rate\" ;oc=3;branch=z9hG4bK2\n",
			"v:SIP/2.0/TLS a.example:5061 ;branch=z9hG4bK2;{feedback}\n"},
		{"where the next hop dropped what was asked", ours + "\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK2\n",
			"Via: SIP/2.0/TLS a.example;branch=z9hG4bK2;{feedback}\n"},
		{"and nowhere if no Via is left", ours + "\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const rest = "From: <sip:alice@fabrikam.example>;tag=1\nTo: <sip:bob@example.com>;tag=2\nCall-ID: 1\nCSeq: 1 MESSAGE\nContent-Length: 0\n\n"
			m := parsed(t, crlf("SIP/2.0 200 OK\n"+tt.vias+rest))
			out := m.Append(nil, &Edit{PopVia: true, MaxForwards: -1, Throttle: []byte(feedback)})
			want := string(crlf("SIP/2.0 200 OK\n" + strings.ReplaceAll(tt.want, "{feedback}", feedback) + rest))
			if string(out) != want {
				t.Errorf("got\n%swant\n%s", out, want)
			}
		})
	}
}

func TestAnswersOfOurOwnHaveFeedback(t *testing.T) {
	in := strings.Replace(plainRequest, "branch=z9hG4bK1", "oc;branch=z9hG4bK1;oc-algo=\"loss\"", 1)
	in = strings.Replace(in, "From", "Via: SIP/2.0/TLS b.example;oc\nFrom", 1)
	plain := string(AppendResponse(nil, parsed(t, crlf(in)), 503, "", "ours", nil))
	got := string(AppendAnswer(nil, parsed(t, crlf(in)), 503, "", "ours", nil, TopVia{Throttle: []byte(feedback)}))
	want := strings.Replace(plain, "oc;branch=z9hG4bK1;oc-algo=\"loss\"", "branch=z9hG4bK1;"+feedback, 1)
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if again := string(AppendAnswer(nil, parsed(t, crlf(in)), 503, "", "ours", nil, TopVia{})); again != plain {
		t.Errorf("without feedback\n%swant\n%s", again, plain)
	}
}
