package sip

// A param is one parameter as offsets: name in b[start:nameEnd], value in
// b[value:valueEnd]. A parameter without "=" has value < 0.
type param struct {
	start, nameEnd  int
	value, valueEnd int
}

// scanParam reads the parameter whose name begins at or after b[i], behind the
// ";", and returns the end of the parameter and the white space behind it.
func scanParam(b []byte, i int) (p param, next int, err error) {
	p.value = -1
	p.start = skipLWS(b, i)
	p.nameEnd = tokenChar.run(b, p.start)
	if p.nameEnd == p.start {
		return p, 0, errParam
	}
	next = skipLWS(b, p.nameEnd)
	if next == len(b) || b[next] != '=' {
		return p, next, nil
	}
	p.value = skipLWS(b, next+1)
	if p.value < len(b) && b[p.value] == '"' {
		var ok bool
		if p.valueEnd, ok = skipQuoted(b, p.value); !ok {
			return p, 0, errQuote
		}
	} else {
		p.valueEnd = valueChar.run(b, p.value)
	}
	return p, skipLWS(b, p.valueEnd), nil
}

// is reports whether the parameter of b has the lower-case name.
func (p param) is(b []byte, name string) bool {
	return p.nameEnd-p.start == len(name) && equalFold(b[p.start:p.nameEnd], name)
}

// bytes returns the value of the parameter of b, nil if it has none.
func (p param) bytes(b []byte) []byte {
	if p.value < 0 {
		return nil
	}
	return b[p.value:p.valueEnd]
}

// Param returns the value of the first parameter called name, which is given in
// lower case, among params: the text behind the first ";" of a header or URI
// value. White space around ";" and "=" counts for nothing (RFC 3261 §7.3.1). A
// quoted value keeps its quotes; a parameter without value has a nil one.
func Param(params []byte, name string) (value []byte, ok bool) {
	for len(params) > 0 {
		var n []byte
		if n, value, params = CutParam(params); equalFold(n, name) {
			return value, true
		}
	}
	return nil, false
}

// CutParam cuts the first parameter off params, and reads it as Param does: for who
// asks for several of them.
func CutParam(params []byte) (name, value, rest []byte) {
	start := skipLWS(params, 0)
	nameEnd := start
	for nameEnd < len(params) && params[nameEnd] != '=' && params[nameEnd] != ';' {
		nameEnd++
	}
	end := nameEnd
	if end < len(params) && params[end] == '=' {
		v := skipLWS(params, end+1)
		end = valueEnd(params, v)
		value = params[v:trimEnd(params, v, end)]
	}
	return params[start:trimEnd(params, start, nameEnd)], value, params[min(end+1, len(params)):]
}

// valueEnd returns the offset of the ";" that ends the value at b[i], or of the end.
func valueEnd(b []byte, i int) int {
	if i < len(b) && b[i] == '"' {
		if end, ok := skipQuoted(b, i); ok {
			i = end
		}
	}
	for i < len(b) && b[i] != ';' {
		i++
	}
	return i
}
