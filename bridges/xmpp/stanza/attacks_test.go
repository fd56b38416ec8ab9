package stanza

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// What is between elements of a stream, or within one, and must end it.
var forbidden = []struct{ name, xml, condition string }{
	{"the same attribute twice", "<message to='a@example.net' to='b@example.net'/>", notWellFormed},
	{"the same attribute by two prefixes", "<message xmlns:a='urn:x' xmlns:b='urn:x' a:i='1' b:i='2'/>", notWellFormed},
	{"a language twice", "<message xml:lang='en' xml:lang='de'/>", notWellFormed},
	{"the same namespace twice", "<message xmlns='jabber:server' xmlns='jabber:server'/>", notWellFormed},
	{"the same prefix twice", "<message xmlns:a='urn:x' xmlns:a='urn:y'/>", notWellFormed},
	{"a document type", "<!DOCTYPE message><message/>", restrictedXML},
	{"a document type within", "<message><!DOCTYPE message></message>", restrictedXML},
	{"an entity", `<!DOCTYPE m [<!ENTITY e "x">]><message>&e;</message>`, restrictedXML},
	{"an entity of a file", `<!DOCTYPE m [<!ENTITY e SYSTEM "file:///etc/passwd">]><message>&e;</message>`, restrictedXML},
	{"an entity that nobody declares", "<message>&e;</message>", notWellFormed},
	{"an entity of HTML", "<message>&nbsp;</message>", notWellFormed},
	{"an entity without an end", "<message>&amp</message>", notWellFormed},
	{"a lonely ampersand", "<message>a & b</message>", notWellFormed},
	{"a comment", "<message><!-- x --></message>", restrictedXML},
	{"a comment between elements", "<!-- x --><message/>", restrictedXML},
	{"a processing instruction", "<message><?php x?></message>", restrictedXML},
	{"a processing instruction between elements", "<?php x?><message/>", restrictedXML},
	{"a second XML declaration", "<?xml version='1.0'?><message/>", restrictedXML},
	{"an XML declaration within", "<message><?xml version='1.0'?></message>", restrictedXML},
	{"a marked section of another kind", "<message><![INCLUDE[x]]></message>", restrictedXML},
	{"a prefix that is not declared", "<p:message/>", notWellFormed},
	{"a prefix that is not declared any more", "<message><a xmlns:p='urn:x'/><p:b/></message>", notWellFormed},
	{"an attribute's prefix that is not declared", "<message p:a='b'/>", notWellFormed},
	{"another xml", "<message xmlns:xml='urn:x'/>", notWellFormed},
	{"the namespace of xml by another prefix", "<message xmlns:x='http://www.w3.org/XML/1998/namespace' x:lang='en'/>", notWellFormed},
	{"the namespace of xml by default", "<message xmlns='http://www.w3.org/XML/1998/namespace'/>", notWellFormed},
	{"the prefix xmlns", "<message xmlns:xmlns='urn:x'/>", notWellFormed},
	{"the namespace of xmlns", "<message xmlns:x='http://www.w3.org/2000/xmlns/'/>", notWellFormed},
	{"an element of xmlns", "<xmlns:message/>", notWellFormed},
	{"an element of xml", "<message><xml:a/></message>", badNamespacePrefix},
	{"a namespace that would pass for xml", "<message xmlns:x='xml' x:lang='en'/>", badNamespacePrefix},
	{"a namespace that is no URI", "<message xmlns:x='urn:x y'/>", notWellFormed},
	{"a namespace with a separator", "<message xmlns:x='urn:x\ny'/>", notWellFormed},
	{"a prefix for nothing", "<message xmlns:p=''/>", notWellFormed},
	{"content with a prefix", "<x:message xmlns:x='jabber:server'/>", badNamespacePrefix},
	{"content with a prefix within", "<message xmlns:x='jabber:server'><x:body>hi</x:body></message>", badNamespacePrefix},
	{"two colons", "<message><a:b:c xmlns:a='urn:x'/></message>", notWellFormed},
	{"a colon before", "<message><:b/></message>", notWellFormed},
	{"a colon behind", "<message><b:/></message>", notWellFormed},
	{"a colon before an attribute", "<message :a='b'/>", notWellFormed},
	{"a digit behind the colon", "<message xmlns:a='urn:x'><a:1/></message>", notWellFormed},
	{"half a surrogate pair", "<message>&#xD800;</message>", notWellFormed},
	{"half a surrogate pair, decimal", "<message>&#57343;</message>", notWellFormed},
	{"half a surrogate pair, with zeros", "<message>&#x000000000DFFF;</message>", notWellFormed},
	{"a surrogate pair in two halves", "<message>&#xD83D;&#xDE00;</message>", notWellFormed},
	{"half a surrogate pair in a value", "<message to='&#xD800;'/>", notWellFormed},
	{"half a surrogate pair in a namespace", "<message xmlns:a='&#xD800;'/>", notWellFormed},
	{"half a surrogate pair in UTF-8", "<message>\xed\xa0\x80</message>", notWellFormed},
	{"a reference to NUL", "<message>&#0;</message>", notWellFormed},
	{"a reference to U+0001", "<message>&#1;</message>", notWellFormed},
	{"a reference to U+FFFE", "<message>&#xFFFE;</message>", notWellFormed},
	{"a reference beyond Unicode", "<message>&#x110000;</message>", notWellFormed},
	{"a reference far beyond", "<message>&#99999999999999999999;</message>", notWellFormed},
	{"a reference to the number 2³² + 65", "<message>&#x100000041;</message>", notWellFormed},
	{"an empty reference", "<message>&#;</message>", notWellFormed},
	{"an empty hexadecimal reference", "<message>&#x;</message>", notWellFormed},
	{"a reference with an upper case X", "<message>&#X41;</message>", notWellFormed},
	{"a reference that is negative", "<message>&#-65;</message>", notWellFormed},
	{"NUL", "<message>\x00</message>", notWellFormed},
	{"U+0001", "<message>\x01</message>", notWellFormed},
	{"U+FFFE", "<message>\ufffe</message>", notWellFormed},
	{"U+FFFF", "<message to='\uffff'/>", notWellFormed},
	{"overlong UTF-8", "<message>\xc0\xbc</message>", notWellFormed},
	{"a broken end of UTF-8", "<message>\xc3</message>", notWellFormed},
	{"octets that are no UTF-8 in a value", "<message to='\xff'/>", notWellFormed},
	{"octets that are no UTF-8 in a name", "<message><a\xff/></message>", notWellFormed},
	{"an end of CDATA without a start", "<message>a]]>b</message>", notWellFormed},
	{"< in a value", "<message to='<'/>", notWellFormed},
	{"a value without quotes", "<message to=a/>", notWellFormed},
	{"an attribute without a value", "<message to/>", notWellFormed},
	{"attributes without a space between", "<message to='a'from='b'/>", notWellFormed},
	{"crossed tags", "<message><a><b></a></b></message>", notWellFormed},
	{"the end of another prefix", "<message xmlns:a='urn:x' xmlns:b='urn:x'><a:c></b:c></message>", notWellFormed},
	{"an end without a start", "</message>", notWellFormed},
	{"the end of the stream within", "<message></stream:stream>", notWellFormed},
	{"the end of something else", "</db:stream>", notWellFormed},
	{"an attribute in an end tag", "<message></message a='b'>", notWellFormed},
	{"text between elements", "hello <message/>", badFormat},
	{"text behind an element", "<message/>x", badFormat},
	{"CDATA between elements", "<![CDATA[ ]]><message/>", badFormat},
	{"a reference between elements", "&#32;<message/>", badFormat},
	{"no-break space between elements", "\u00a0<message/>", badFormat},
	{"a byte order mark", "\ufeff<message/>", badFormat},
	{"a stream within a stream", "<stream:stream/>", badFormat},
	{"a stanza without a namespace", "<message xmlns=''/>", invalidNamespace},
	{"a stanza of clients", "<message xmlns='jabber:client'/>", invalidNamespace},
	{"too deep", strings.Repeat("<a>", 65), policyViolation},
	{"nests of 100,000", strings.Repeat("<a>", 100_000), policyViolation},
	{"10,000 attributes", "<message" + numbered(" a%d=''", 10_000) + "/>", policyViolation},
	{"65 attributes", "<message" + numbered(" a%d=''", 65) + "/>", policyViolation},
	{"100,000 namespaces", "<message" + numbered(" xmlns:a%d='urn:x'", 100_000) + "/>", policyViolation},
	{"namespaces in layers", "<message>" + strings.Repeat("<a"+numbered(" xmlns:a%d='urn:x'", 32)+">", 40), policyViolation},
	{"a value of 1 MB", "<message to='" + strings.Repeat("x", 1<<20) + "'/>", policyViolation},
	{"a name of 1 MB", "<" + strings.Repeat("x", 1<<20) + "/>", policyViolation},
	{"a namespace of 1 MB", "<message xmlns:a='" + strings.Repeat("x", 1<<20) + "'/>", policyViolation},
	{"white space of 1 MB in a tag", "<message" + strings.Repeat(" ", 1<<20) + "/>", policyViolation},
	{"text of 10 MB", "<message><body>" + strings.Repeat("x", 10<<20) + "</body></message>", policyViolation},
	{"CDATA of 10 MB", "<message><![CDATA[" + strings.Repeat("x", 10<<20), policyViolation},
	{"an entity's name of 1 MB", "<message>&" + strings.Repeat("x", 1<<20), policyViolation},
	{"a reference of 1 MB", "<message>&#" + strings.Repeat("0", 1<<20), policyViolation},
	{"20,000 elements", "<message>" + strings.Repeat("<a/>", 20_000) + "</message>", policyViolation},
	{"20,000 pieces of text", "<message>" + strings.Repeat("<![CDATA[x]]>", 20_000) + "</message>", policyViolation},
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestWhatIsForbiddenEndsTheStream(t *testing.T) {
	for _, tt := range forbidden {
		t.Run(tt.name, func(t *testing.T) {
			// What stands before is read, and what stands behind is not.
			r := open(t, header, "<presence/>"+tt.xml+"<presence/>", Limits{})
			if e, err := r.Next(); err != nil || e.Local != "presence" {
				t.Fatalf("%+v, %v before it", e, err)
			}
			e, err := r.Next()
			for err == nil && e.Local == "message" { // the fault is behind it
				e, err = r.Next()
			}
			if condition(err) != tt.condition {
				t.Fatalf("%+v, %v, want %s", e, err, tt.condition)
			}
			if _, again := r.Next(); again != err {
				t.Errorf("then %v, want the same", again)
			}
		})
	}
}

// A forbidden document is refused by Parse as well, but for what only streams
// forbid.
func TestWhatIsForbiddenIsNoDocument(t *testing.T) {
	onlyStreams := map[string]bool{
		"a second XML declaration": true, "content with a prefix": true, "content with a prefix within": true, "a byte order mark": true,
		"a stanza without a namespace": true, "a stanza of clients": true,
	}
	for _, tt := range forbidden {
		e, err := Parse([]byte(tt.xml), Limits{})
		if (err == nil) != onlyStreams[tt.name] {
			t.Errorf("%s: %+v, %v", tt.name, e, err)
		}
	}
}

// A stream's source that never ends is read up to the limit, and memory is bounded
// by it.
func TestLimitsHoldBeforeAnElementIsComplete(t *testing.T) {
	for _, tt := range []struct{ name, before, text string }{
		{"text", "<message><body>", "x"},
		{"a value", "<message to='", "x"},
		{"a name", "<message><x", "x"},
		{"CDATA", "<message><![CDATA[", "x]"},
		{"attributes", "<message a='", "b' a='"},
		{"elements", "<message>", "<a/>"},
		{"depth", "<message>", "<a>"},
		{"namespaces", "<message><a ", "xmlns:a='urn:x' "},
		{"references", "<message>", "&#38;"},
		{"space", "<message ", " "},
	} {
		for _, limit := range []int{8 << 10, 256 << 10} {
			t.Run(fmt.Sprint(tt.name, " ", limit), func(t *testing.T) {
				src := &counted{r: io.MultiReader(strings.NewReader(header+tt.before), &endless{text: tt.text})}
				r := NewReader(src, Limits{Stanza: limit})
				if _, err := r.Open(); err != nil {
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := r.Next()
				runtime.ReadMemStats(&after)
				if condition(err) != policyViolation && condition(err) != notWellFormed {
					t.Errorf("the stream ended with %v", err)
				}
				if most := limit + len(header) + 2*startBuffer; src.n > most {
					t.Errorf("%d octets were taken, want at most %d", src.n, most)
				}
				// Others tests run in this process, but not at the same time.
				if spent, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+6*limit); spent > most {
					t.Errorf("%d octets of memory, want at most %d", spent, most)
				}
			})
		}
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestWhatIsNoStreamIsRefused(t *testing.T) {
	const stream = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>"
	for _, tt := range []struct{ name, xml, condition string }{
		{"another encoding", "<?xml version='1.0' encoding='ISO-8859-1'?>" + stream, unsupportedEncoding},
		{"another encoding, with spaces", "<?xml version = '1.0' encoding = 'ISO-8859-1'?>" + stream, unsupportedEncoding},
		{"UTF-16", "\xff\xfe<\x00", unsupportedEncoding},
		{"UTF-16 without a mark", "\x00<\x00s", unsupportedEncoding},
		{"a byte order mark", "\ufeff" + stream, unsupportedEncoding},
		{"another version of XML", "<?xml version='1.1'?>" + stream, notWellFormed},
		{"no version of XML", "<?xml encoding='utf-8'?>" + stream, notWellFormed},
		{"an empty declaration", "<?xml?>" + stream, notWellFormed},
		{"a declaration with more", "<?xml version='1.0' x='y'?>" + stream, notWellFormed},
		{"a declaration in another order", "<?xml encoding='utf-8' version='1.0'?>" + stream, notWellFormed},
		{"not standalone", "<?xml version='1.0' standalone='no'?>" + stream, restrictedXML},
		{"two declarations", "<?xml version='1.0'?><?xml version='1.0'?>" + stream, restrictedXML},
		{"a declaration behind a space", " <?xml version='1.0'?>" + stream, restrictedXML},
		{"a processing instruction", "<?xml-stylesheet href='x'?>" + stream, restrictedXML},
		{"a declaration in upper case", "<?XML version='1.0'?>" + stream, restrictedXML},
		{"a declaration without an end", "<?xml " + strings.Repeat("x", 1<<20), policyViolation},
		{"a document type", "<!DOCTYPE x>" + stream, restrictedXML},
		{"a comment", "<!-- -->" + stream, restrictedXML},
		{"text", "GET / HTTP/1.1\r\n", badFormat},
		{"CDATA", "<![CDATA[x]]>" + stream, notWellFormed},
		{"the end of a stream", "</stream:stream>", notWellFormed},
		{"a stanza", "<message xmlns='jabber:server'/>", invalidNamespace},
		{"another stream", "<stream:stream xmlns='jabber:server' xmlns:stream='urn:x'>", invalidNamespace},
		{"another content", "<stream:stream xmlns='urn:x' xmlns:stream='http://etherx.jabber.org/streams'>", invalidNamespace},
		{"too large", "<stream:stream to='" + strings.Repeat("x", 300<<10), policyViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tt.xml), Limits{})
			if e, err := r.Open(); condition(err) != tt.condition {
				t.Errorf("%+v, %v, want %s", e, err, tt.condition)
			}
		})
	}
}

// The end of a stream is its end, whatever follows (stanza smuggling).
func TestNothingIsReadBehindTheEndOfAStream(t *testing.T) {
	r := open(t, header, "</stream:stream><message/>", Limits{})
	for range 3 {
		if e, err := r.Next(); err != io.EOF {
			t.Errorf("%+v, %v, want the end", e, err)
		}
	}
}
