package sip

import "testing"

func TestParamsAreCutOneByOne(t *testing.T) {
	for _, tt := range []struct {
		params string
		want   [][2]string // "-": no value
	}{
		{"", nil},
		{"lr", [][2]string{{"lr", "-"}}},
		{`reg-id = 1 ; +sip.instance="<urn:uuid:1>;x" ;ob`, [][2]string{{"reg-id", "1"}, {"+sip.instance", `"<urn:uuid:1>;x"`}, {"ob", "-"}}},
		{`a="b\";c";d=`, [][2]string{{"a", `"b\";c"`}, {"d", ""}}},
		{"a=1;a=2", [][2]string{{"a", "1"}, {"a", "2"}}},
		{";;b", [][2]string{{"", "-"}, {"", "-"}, {"b", "-"}}},
		{`a="open;b=1`, [][2]string{{"a", `"open`}, {"b", "1"}}},
	} {
		var got [][2]string
		for rest := []byte(tt.params); len(rest) > 0; {
			var name, value []byte
			name, value, rest = CutParam(rest)
			if value == nil {
				value = []byte("-")
			}
			got = append(got, [2]string{string(name), string(value)})
		}
		if len(got) != len(tt.want) {
			t.Errorf("%q is %q, want %q", tt.params, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%q is %q, want %q", tt.params, got, tt.want)
			}
		}
	}
}

func TestWhatMayStandInQuotes(t *testing.T) {
	for c := range 256 {
		plain := c >= ' ' && c != '"' && c != '\\' && c != 0x7f || c == '\t'
		// A quote ends the string where it stands.
		if end, ok := skipQuoted([]byte{'"', 'a', byte(c), 'b', '"'}, 0); ok != (plain || c == '"' || c == '\\') || ok && (end == 5) != (c != '"') {
			t.Errorf("%#x: ends at %d, %v", c, end, ok)
		}
		pair := c < 0x80 && c != '\r' && c != '\n'
		if _, ok := skipQuoted([]byte{'"', '\\', byte(c), '"'}, 0); ok != pair {
			t.Errorf("%#x behind a backslash: %v", c, ok)
		}
	}
	for text, want := range map[string]bool{"\"a\r\n b\"": true, "\"a\r\nb\"": false, `"`: false, `"a`: false, `"\`: false, `""`: true} {
		if _, ok := skipQuoted([]byte(text), 0); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}
