package federation

import (
	"fmt"
	"time"
)

// A Date is a day of the calendar, without a clock or a place: what an
// administrator writes as 2026-12-31. The zero Date is none.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// IsZero reports whether d is none.
func (d Date) IsZero() bool { return d == Date{} }

// End returns when the day is over, in UTC: partners on both sides of the world
// must agree about it.
func (d Date) End() time.Time { return time.Date(d.Year, d.Month, d.Day+1, 0, 0, 0, 0, time.UTC) }

// String returns the date as it is written.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// MarshalText writes the date as String does, and none as nothing.
func (d Date) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText writes, and no other form of a date.
func (d *Date) UnmarshalText(text []byte) error {
	*d = Date{}
	if len(text) == 0 {
		return nil
	}
	t, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("%q is no date like 2026-12-31", text)
	}
	d.Year, d.Month, d.Day = t.Date()
	return nil
}
