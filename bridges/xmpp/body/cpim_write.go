package body

import (
	"strconv"
	"strings"
	"time"
)

// Append appends the wrapper with its content. A line end or a control in a value is
// escaped or left out, so that it stays one.
func (c *CPIM) Append(dst []byte) []byte {
	if c.From.URI != "" {
		dst = c.From.append(append(dst, "From: "...))
	}
	for _, to := range c.To {
		dst = to.append(append(dst, "To: "...))
	}
	if !c.DateTime.IsZero() {
		dst = append(c.DateTime.UTC().AppendFormat(append(dst, "DateTime: "...), time.RFC3339), "\r\n"...)
	}
	for _, s := range c.Subjects {
		dst = append(dst, "Subject:"...)
		if isLanguage(s.Lang) {
			dst = append(append(dst, ";lang="...), s.Lang...)
		}
		dst = append(appendCPIM(append(dst, ' '), s.Text), "\r\n"...)
	}
	dst = c.appendIMDN(dst)
	dst = append(dst, "\r\n"...)
	dst = contentField(dst, "Content-Type", c.ContentType)
	dst = contentField(dst, "Content-Language", c.ContentLanguage)
	dst = contentField(dst, "Content-Disposition", c.Disposition)
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(c.Body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, c.Body...)
}

// appendIMDN appends the headers of RFC 5438 §6, if there are any.
func (c *CPIM) appendIMDN(dst []byte) []byte {
	if c.MessageID == "" {
		return dst
	}
	dst = append(dst, "NS: imdn <"+nsIMDNURN+">\r\nimdn.Message-ID: "...)
	dst = append(appendCPIM(dst, c.MessageID), "\r\n"...)
	if c.Notify != 0 {
		dst = append(dst, "imdn.Disposition-Notification:"...)
		sep := " "
		for _, n := range fateWords {
			if c.Notify&n.bit != 0 {
				dst = append(append(dst, sep...), n.word...)
				sep = ", "
			}
		}
		dst = append(dst, "\r\n"...)
	}
	for _, uri := range c.Route {
		dst = Party{URI: uri}.append(append(dst, "imdn.IMDN-Route: "...))
	}
	return dst
}

// append appends a name and a URI, and ends the line.
func (p Party) append(dst []byte) []byte {
	if p.Name != "" {
		dst = append(dst, '"')
		dst = append(appendCPIM(dst, strings.ReplaceAll(p.Name, `"`, "'")), `" `...)
	}
	dst = append(dst, '<')
	for i := range len(p.URI) { // of our own making, or read by ParseURI
		if c := p.URI[i]; c > ' ' && c != '<' && c != '>' && c != 0x7f {
			dst = append(dst, c)
		}
	}
	return append(dst, ">\r\n"...)
}

func contentField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(dst, name...), ": "...)
	for i := range len(value) {
		if c := value[i]; c >= ' ' && c != 0x7f {
			dst = append(dst, c)
		}
	}
	return append(dst, "\r\n"...)
}
