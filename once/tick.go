package once

import "time"

// At returns the tick that t belongs to: the multiple of every that is nearest to
// t, as a UTC time such as "2026-11-27T12:00:00.000Z". Ticks of one period sort as
// their times do, and so do those of another period.
//
// A tick takes the times from half a period before it, inclusive, to half a period
// after it, exclusive. So replicas that are started at one instant, a multiple of every,
// agree on the tick if their clocks are wrong by less than half a period. If each has a
// timer by its own clock, Do of the slow ones is ErrOldTick only if the clocks differ by
// more than a period. A timer that fires a little early does no harm. At a border, halfway
// between two multiples, any difference counts: one replica may have the tick before it,
// and another the one after it. A job must not start there. For a schedule that is not on
// the multiples of every, shift t: a job at noon UTC, halfway between two midnights, has
// the tick
//
//	once.At(t.Add(-12*time.Hour), 24*time.Hour)
//
// Multiples are counted in UTC from the zero time: days begin at midnight and weeks on
// Monday. A month has no fixed length, and days in a time zone do not either: take
// t.Format("2006-01"), or the date, as the tick.
//
// If every is less than a millisecond, or the year of the tick has not four digits, At
// returns "", which Do refuses.
func At(t time.Time, every time.Duration) string {
	if every < time.Millisecond {
		return ""
	}
	tick := t.UTC().Round(every)
	if y := tick.Year(); y < 1 || y > 9999 {
		return ""
	}
	return tick.Format("2006-01-02T15:04:05.000Z")
}
