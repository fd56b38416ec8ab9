package s2s

import "testing"

func TestDialbackKeysAreThoseOfTheSpecification(t *testing.T) {
	// The examples of XEP-0185 §3 and XEP-0220 §2.1.1, §2.2.2.
	for _, tt := range []struct{ secret, receiving, originating, id, want string }{
		{"s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F", "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"},
		{"s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F", "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3"},
		{"d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25", "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d"},
	} {
		k := newKeys([]byte(tt.secret))
		if got := k.of(tt.receiving, tt.originating, tt.id); got != tt.want {
			t.Errorf("key of %s to %s = %s, want %s", tt.originating, tt.receiving, got, tt.want)
		}
		if !k.valid("\n\t"+tt.want+" ", tt.receiving, tt.originating, tt.id) {
			t.Errorf("%s is not valid with white space around it", tt.want)
		}
		for _, other := range [][3]string{
			{tt.originating, tt.receiving, tt.id}, {tt.receiving, tt.originating, tt.id + "0"}, {"x" + tt.receiving, tt.originating, tt.id},
		} {
			if k.valid(tt.want, other[0], other[1], other[2]) {
				t.Errorf("the key is valid for %q, too", other)
			}
		}
	}
}
