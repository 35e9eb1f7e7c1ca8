package simulation_test

import "testing"

// Mistakes in package once. Its own tests must find them.
var onceMistakes = []mistake{
	{"the marker is not read under the lock", "once:Do", "if done, err = c.over(from); done || err != nil {", "if false {"},
	{"an older tick is run", "once:(*call).over", "case m.Tick > c.tick:", "case false:"},
	{"a tick that was run is run again", "once:(*call).over", "return m.Tick == c.tick, nil", "return false, nil"},
	{"a mark without the lock", "once:(*call).end", "done, err := h.Commit(ctx, []clientv3.Cmp{c.unchanged(from)}, change)",
		"_, err := c.l.Client().Do(ctx, change)\n\tdone := true"},
	{"a mark over another", "once:(*call).end", "[]clientv3.Cmp{c.unchanged(from)}", "nil"},
	{"a mark that failed is told as done", "once:(*call).end", "return bare(err)", "return nil"},
	{"a failed run is marked", "once:Do", "return theirs{err}", "_ = theirs{err}"},
	{"with Skip, the mark comes last", "once:Do", "if c.skip {\n\t\t\tif err", "if false {\n\t\t\tif err"},
	{"with Skip, the mark wants no lock", "once:(*call).spend", "h.Fence(), c.unchanged(from)}", "c.unchanged(from)}"},
	{"with Skip, a mark over another", "once:(*call).spend", "h.Fence(), c.unchanged(from)}", "h.Fence()}"},
	{"with Skip, an unknown outcome is taken for done", "once:(*call).spend", "return unknown(ctx, err)", "return nil"},
	{"with Skip, a mark whose answer was lost is not found", "once:refusal", "if kv != nil && ", "if false && "},
	{"with Skip, a mark that was written over is taken for not written", "once:refusal", "if again && changed {", "if false {"},
	{"a caller that gave up has its job run", "once:Do", "if ctx.Err() != nil {", "if false {"},
	{"a read without answer is an end", "once:(*call).early", "case err != nil || ", "case err != nil:\n\t\treturn true, nil\n\tcase "},
	{"the metadata of the caller is sent", "once:(*call).bounded", "context.WithTimeout(c.l.Context(), patience)", "context.WithTimeout(ctx, patience)"},
	{"ticks are rounded down", "once:At", "Round(every)", "Truncate(every)"},
	{"the marker is in the way of a value", "once:(*call).path", ` + "%once"`, ""},
	{"a marker of a later release is taken for one of ours", "once:decode", "err = json.Unmarshal(data, &m)",
		"err = json.Unmarshal(data, &m)\n\tm.Version = min(m.Version, version)"},
}

func TestEveryMistakeOfOnceCanBePlanted(t *testing.T) {
	for _, m := range onceMistakes {
		t.Run(m.name, func(t *testing.T) { plant(t, m) })
	}
}

func TestPlantedMistakesOfOnceAreFoundByItsOwnTests(t *testing.T) {
	hunt(t, onceMistakes, func(mistake) []string { return []string{"-timeout=5m", module + "/once", "-seeds=100"} })
}
