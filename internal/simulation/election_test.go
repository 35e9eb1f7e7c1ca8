package simulation_test

import "testing"

// Mistakes in package election, and in what it alone uses below. Its own tests must find them.
var electionMistakes = []mistake{
	{"a leader believes that it leads for ever", "election:(*Election).IsLeader", "h != nil && h.Err() == nil", "h != nil"},
	{"an announcement without its term", "internal/queue:(*Entry).Announce", `If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.Name), "=", e.Mod)},`, ""},
	{"a lost answer to an announcement is not found", "internal/queue:(*Entry).Announce", "if string(kvs[0].Value) == string(next.Encode()) {", "if false {"},
	{"an announcement of unknown outcome counts as not made", "locker:(*Hold).Announce", "if inDoubt {", "if inDoubt && false {"},
	{"an announcement that finds no key ends nothing", "locker:(*Hold).call", "h.l.entriesMissing(", "_ = ("},
	{"the next leader has the last one's announcement", "internal/entry:(*Entry).usable", "e.Announces == want.Announces && ", ""},
	{"an entry that announces is passed on", "internal/entry:(*Entry).passable", "!e.Announces && ", ""},
	{"a hand-over to the next in line", "election:(*Term).resignTo", "err := t.hold.Promote(ctx, owner)", "var err error"},
	{"a hand-over to nobody", "election:(*Term).resignTo", "if errors.Is(err, locker.ErrNotWaiting) {", "if err = nil; false {"},
	{"a hand-over does not wait for its candidate", "election:(*Term).promoteLater", "!errors.Is(err, locker.ErrNotWaiting)", "true"},
	{"whoever waits is next", "internal/inspect:behind", "case r.Owner == owner:", `case r.Owner != "":`},
	{"an election of etcd steps back", "internal/inspect:behind", "case !ours:", "case !ours && false:"},
	{"a lost term is the end", "election:(*Term).run", "if lost && ", "if false && lost && "},
	{"the error of a lost term is forgotten", "election:(*Term).run", " && (own == nil || errors.Is(own, cause) || errors.Is(own, context.Canceled))", ""},
	{"silence of etcd ends a candidate", "election:(*Election).passes", "errors.Is(err, locker.ErrUnavailable) || ", ""},
	{"announcements are not told", "election:(*Election).Observe", "&& now.Written == last.Written ", ""},
	{"vacancies are not told", "election:(*Election).Observe", "first, last = false, now\n", "first, last = false, now\n\t\t\tif now.Token == 0 {\n\t\t\t\tcontinue\n\t\t\t}\n"},
	{"candidates are told", "election:(*Election).Observe", "if !first && ", "if first && false && "},
	{"a vacancy is a leader", "election:(*Election).Leader", "if err == nil && l.Vacant() {", "if false {"},
	{"a read skips what a watch would tell", "internal/inspect:(*view).catchUp", "case !v.told, missed && !unchanged:", "case !v.told, !unchanged:"},
	{"an empty queue was empty all the time", "internal/inspect:(*view).catchUp", "(!unchanged || len(now) == 0)", "!unchanged"},
	{"a watch begins with what comes now", "internal/inspect:(*Inspector).Follow", "v.seen+1", "0"},
	{"what is compacted is waited for", "internal/inspect:(*Inspector).Follow", "missed = errors.Is(err, rpctypes.ErrCompacted)", "missed = errors.Is(err, rpctypes.ErrEmptyKey)"},
	{"the mark of Evict is an announcement", "internal/inspect:(*view).apply", " && record.Evicted(ev.Kv):", " && record.Evicted(ev.Kv) && false:"},
	{"a key without a lease leads", "internal/inspect:(*view).apply", " && ev.Kv.Lease != 0", ""},
}

func TestEveryMistakeOfElectionCanBePlanted(t *testing.T) {
	for _, m := range electionMistakes {
		t.Run(m.name, func(t *testing.T) { plant(t, m) })
	}
}

func TestPlantedMistakesOfElectionAreFoundByItsOwnTests(t *testing.T) {
	hunt(t, electionMistakes, func(mistake) []string {
		return []string{"-timeout=1m", module + "/election", "-seeds=25", "-skip=ResignToTakes"}
	})
}
