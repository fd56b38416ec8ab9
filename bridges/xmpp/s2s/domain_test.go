package s2s

import "testing"

func TestDomainsHaveOneForm(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"example.net", "example.net"},
		{"Example.NET.", "example.net"},
		{"xn--bcher-kva.example", "bücher.example"},
		{"BÜCHER.example", "bücher.example"},
		{"bücher.example", "bücher.example"},
		{"chat_rooms.example", "chat_rooms.example"},
		{"localhost", "localhost"},
		{"", ""},
		{".", ""},
		{"a..b", ""},
		{"-a.example", ""},
		{"192.0.2.1", ""},
		{"[2001:db8::1]", ""},
		{"a b.example", ""},
		{"a/b.example", ""},
		{"a@b.example", ""},
		{"a'b.example", ""},
		{"xn--a.example", ""},
	} {
		got, ok := Normal(tt.in)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("Normal(%q) = %q, %v, want %q", tt.in, got, ok, tt.want)
		}
		if again, _ := Normal(got); ok && again != got {
			t.Errorf("Normal(%q) = %q", got, again)
		}
	}
}

func TestADomainInNormalFormCostsNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Normal("xmpp.example.net") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNormal(f *testing.F) {
	f.Add("Example.NET.")
	f.Add("xn--bcher-kva.example")
	f.Add("ﬃ.example")
	f.Fuzz(func(t *testing.T, in string) {
		d, ok := Normal(in)
		if !ok {
			return
		}
		if again, ok := Normal(d); !ok || again != d {
			t.Errorf("Normal(%q) = %q, and of that %q, %v", in, d, again, ok)
		}
		a, ok := ascii(d)
		if !ok {
			t.Fatalf("%q has no A-labels", d)
		}
		if back, ok := Normal(a); !ok || back != d {
			t.Errorf("%q is %q in A-labels, and that is %q, %v", d, a, back, ok)
		}
	})
}
