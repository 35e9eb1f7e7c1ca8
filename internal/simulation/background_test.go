package simulation_test

import "testing"

// Mistakes in releases in the background that only package locker's own tests find: most of them are seen by the caller or by its
// callback.
var backgroundMistakes = []mistake{
	{"Close does not wait for a release in the background", "(*Hold).freeInBackground", "h.l.spawn(h.freeLater)", "func() bool { go h.freeLater(); return true }()"},
	{"Close waits for a release in the background without bound", "(*Hold).freeLater", "h.l.ctx", "h.caller"},
	{"a lock that passes on here does so in the background", "(*Hold).freeInBackground", "h.passOn() || ", ""},
	{"a loss by the clocks is not returned", "(*Hold).releaseAfterRun", "h.Err() != nil", "false"},
	{"what a release in the background finds is not told", "(*Hold).freeLater", "err != nil", "err != nil && false"},
	{"a release in the background does not wait for others", "(*Hold).freeLater", "ctx.Patient = !", "ctx.Patient = false && !"},
	{"a release in the background waits though others want the lock", "(*Hold).freeLater", "ctx.Patient = !", "ctx.Patient = true || !"},
	{"a release is not made once the Locker is closed", "(*Hold).freeInBackground", "return h.give(ctx)", "return nil"},
	{"the callback of a release holds up Close", "(*Locker).unreleased", "go callback.Call(", "callback.Call("},
	{"an explicit release is in the background", "(*Hold).release", "return m.freeIfReleased(wait)", "return m.freeInBackground()"},
}

func TestPlantedMistakesOfReleasesInTheBackgroundAreFoundByTheirOwnTests(t *testing.T) {
	hunt(t, backgroundMistakes, func(mistake) []string {
		return []string{"-timeout=2m", "-run=InTheBackground", module + "/locker"}
	})
}
