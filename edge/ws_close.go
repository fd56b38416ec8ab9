package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
)

// A closeCode says in a Close frame why a WebSocket ends (RFC 6455 §7.4.1).
type closeCode uint16

const (
	closeNone      closeCode = 0 // none is sent
	closeNormal    closeCode = 1000
	closeGoingAway closeCode = 1001
	closeProtocol  closeCode = 1002
	closeInvalid   closeCode = 1007 // text that is not UTF-8
	closePolicy    closeCode = 1008
	closeTooLong   closeCode = 1009
	closeInternal  closeCode = 1011
)

// A wsEnd is why a WebSocket ends, and what the peer is told.
type wsEnd struct {
	code closeCode
	text string
}

func (e *wsEnd) Error() string { return "edge: websocket: " + e.text }

// What a peer may do wrong with frames.
var (
	errReserved        = &wsEnd{closeProtocol, "reserved bits are set"}
	errOpcode          = &wsEnd{closeProtocol, "opcode is reserved"}
	errNotMasked       = &wsEnd{closeProtocol, "frame is not masked"}
	errControlFragment = &wsEnd{closeProtocol, "control frame in fragments"}
	errLongControl     = &wsEnd{closeProtocol, "control frame is too long"}
	errNoStart         = &wsEnd{closeProtocol, "continuation of no message"}
	errInside          = &wsEnd{closeProtocol, "message within a message"}
	errFragments       = &wsEnd{closeProtocol, "too many fragments"}
	errLength          = &wsEnd{closeProtocol, "length is not in its shortest form"}
	errBadClose        = &wsEnd{closeProtocol, "close frame is malformed"}
	errNotUTF8         = &wsEnd{closeInvalid, "text is not UTF-8"}
	errTooLong         = &wsEnd{closeTooLong, "message is too long"}
)

// readClose reads the payload of a Close frame (RFC 6455 §5.5.1) and returns why
// the flow ends: as the peer wishes, or because it says so in a wrong way.
func readClose(payload []byte) *wsEnd {
	switch len(payload) {
	case 0:
		return &wsEnd{closeNone, "closed by peer"}
	case 1:
		return errBadClose
	}
	code := closeCode(binary.BigEndian.Uint16(payload))
	switch {
	case !code.sendable():
		return errBadClose
	case !utf8.Valid(payload[2:]):
		return errNotUTF8
	}
	return &wsEnd{code, fmt.Sprintf("closed by peer with %d", code)}
}

// sendable reports whether a Close frame may have this code: those of
// RFC 6455 §7.4.1 that are not for the API alone, those registered since, and
// those of frameworks and applications (RFC 6455 §7.4.2).
func (c closeCode) sendable() bool {
	switch {
	case c < 1000, c == 1004, c == 1005, c == 1006, c > 4999:
		return false
	}
	return c <= 1014 || c >= 3000
}

// errPanicked is why a flow ends on which a bug showed.
var errPanicked = errors.New("edge: panic")

// closeCodeOf is what the peer is told when a flow ends for a reason of ours.
func closeCodeOf(reason error) closeCode {
	var end *wsEnd
	var fault *sip.Error
	switch {
	case errors.As(reason, &end):
		return end.code
	case errors.As(reason, &fault) && fault.Status == sip.StatusMessageTooLarge:
		return closeTooLong
	case errors.As(reason, &fault):
		return closeProtocol
	case errors.Is(reason, errStopped):
		return closeGoingAway
	case errors.Is(reason, io.EOF), errors.Is(reason, errIdle), errors.Is(reason, errNoPong):
		return closeNormal
	case errors.Is(reason, errPanicked):
		return closeInternal
	}
	return closePolicy
}

// appendClose appends a Close frame. It has no text: what an admin would like to
// know is in the log, and a stranger need not.
func appendClose(dst []byte, code closeCode) []byte {
	if code == closeNone {
		return appendFrame(dst, opClose, nil)
	}
	return appendFrame(dst, opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}
