package simulation_test

import (
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

var mutations = flag.Int("mutations", 0, "plant mistakes in the library; each must be found within so many seeds")

var mistakes = []mistake{
	{"deadline from receipt", "internal/lease:(*keeper).answered", "s.extend(sent, ", "s.extend(k.cfg.Now(), "},
	{"deadline without margin", "internal/lease:(*Lease).extend", "d := sent.Add(ttl - ttl/margin)", "d := sent.Add(ttl)"},
	{"release without comparison", "internal/queue:Removal", "If: []clientv3.Cmp{record.Created(name, rev)},", ""},
	{"grant without a look at the own entry", "internal/place:(*Place).LookOnce", "if len(own) == 0 || !p.Is(own[0]) {", "if len(own) < 0 {"},
	{"grant with others ahead", "internal/place:(*Place).consult", "p.ahead, p.n = left, len(left)", "p.ahead, p.n = nil, 0"},
	{"watch without reading again", "internal/place:(*Place).consult", "sure := live && s.Since <= p.asOf", "sure := live"},
	{"a look at the nearest waits for its answer without end", "internal/place:(*Place).Await", "err := once(ctx)", "err := once(context.WithoutCancel(ctx))"},
	{"unknown outcome: lost answer taken for a refusal", "internal/queue:(*Entry).enterOnce", "case batch.NotApplied(err):\n\t\t\te.Sent = sent || e.putInDoubt", "case true:\n\t\t\te.Sent = false"},
	{"unknown outcome: nothing cleaned up", "internal/entry:Abandon", "if e.Sent {\n\t\t\te.Settle", "if false {\n\t\t\te.Settle"},
	{"unknown outcome: late write forgotten", "internal/queue:(*Entry).Clean", "if e.putInDoubt || !deleted && e.Rev == 0 {", "if deleted && !deleted {"},
	{"ctx not checked in the lane", "internal/lane:(*Table).wait", "case <-ctx.Done():", "case <-context.Background().Done():"},
	{"ctx not checked in the queue", "internal/place:(*Place).Await", "case <-ctx.Done():\n", "case <-context.Background().Done():\n"},
	{"ctx not checked at the grant", "internal/entry:(*Entry).check", "if ctx.Err() != nil {", "if false {"},
	{"token not increased", "tokenOf", "Token(createRevision) << tokenShift", "1 << tokenShift"},
	{"lane opened before the release is settled", "internal/entry:(*Entry).Settle", "e.Clean(cause); finish()", "finish(); e.Clean(cause)"},
	{"requeue of unknown outcome forgotten", "internal/queue:(*Entry).Replace", "e.Successor = successor\n\t\treturn", "_ = successor\n\t\treturn"},
	{"lock handed on under its fence", "(*Hold).mayPass", "return !h.fenced && ", "return "},
	{"end of a hook missed", "(*Hold).notifyEnd", "if first {\n\t\tdefer", "if first && d.Cause == ErrReleased {\n\t\tdefer"},
	{"try without a look at the queue", "internal/record:Vacant", "of.RangeEnd[len(dir)-1]++", ""},
	{"late write put over a younger entry", "internal/queue:(*Entry).put", "If: []clientv3.Cmp{record.Created(e.Name, 0)}, ", ""},
	{"optimistic acquire without a look at the queue", "internal/queue:(*Entry).optimistic", "empty.GetCompare().RangeEnd = e.dirEnd()", "_ = e.dirEnd"},
	{"several acquired although one is not free", "internal/queue:(*Set).EnterAll", "t.If = append(t.If, record.Vacant(e.Dir))", ""},
	{"shared hold beside one that is alone", "internal/record:(Claim).takenBy", "case c.Shared && ahead.Shared:", "case c.Shared:"},
	{"shared entry removed while others hold", "internal/lane:(*Table).Part", "l.sharing.present > 0 {", "l.sharing.present < 0 {"},
	{"commit without the lock", "(*Hold).planToLeave", "p.Held = append(p.Held, record.Created(e.Name, e.Rev))", ""},
	{"commit of unknown outcome taken for not done", "(*commitPlan).inDoubt", "done, known := p.resolve(ctx, p.h.entry)", "done, known := false, true"},
	{"lease not revoked", "internal/lease:(*Set).Revoke", "errs[i] = t.revoke(ctx, s)", "errs[i], _ = nil, s"},
	{"a renewal is not sent again when its stream breaks", "internal/lease:(*keeper).answered", "k.failed(s, k.cfg.Now(), err)", "_ = s"},
	{"a put that is tried again is not looked for", "internal/queue:(*Entry).enter", "if err == nil && e.putInDoubt && e.Rev != 0 {", "if false {"},
	{"a commit that was refused after doubt counts as not done", "internal/outcome:(*Txn).Verdict", "case batch.NotApplied(a.Err) && !a.InDoubt:", "case a.Err != nil || batch.NotApplied(a.Err):"},
	{"nobody hears that a lease is at risk", "internal/lease:(*keeper).noteRisk", "k.cfg.Spawn(func() { k.cfg.OnRisk(s) })", "_ = s"},
	{"at risk with the first renewal", "internal/lease:(*Lease).atRisk", "s.ttl/riskPart", "2*s.ttl/3"},
	{"a channel of AtRisk stays closed", "(*Hold).AtRisk", "isClosed(h.risk) && !risky", "false"},
	{"failures are not forgotten when etcd answers", "internal/health:(*Signal).current", "s.last > s.answer() && now-s.last <= int64(fresh)", "now != 0"},
	{"a lock that is to stay taken is released", "(*Hold).give", "if h.lingers() {", "if h.lingers() && false {"},
	{"what is to stay stays under the lease of others", "internal/linger:(*Stay).Put", "clientv3.WithLease(s.lease())", "clientv3.WithIgnoreLease()"},
	{"what is to stay gets a lease that is too short", "internal/linger:(*Stay).grant", "left := max(s.Left(), minimum, 1)", "left := max(minimum, 1)"},
	{"a commit of unknown outcome under what is to stay counts as not done", "internal/linger:(*Stay).Committed", "return under == of, true", "return under != under, true"},
	{"a request that is read is not told", "internal/losswatch:(*Watcher).missing", "w.cfg.Put(put)", "_ = put"},
	{"a request that a watch tells is not told", "(*Locker).entriesChanged", "h.request(record.Requested(ev.Kv))", "_ = h"},
	{"a request without the lease", "internal/inspect:(*Inspector).ask", "string(r.Encode()), clientv3.WithIgnoreLease()", "string(r.Encode())"},
	{"a request is taken for a commit", "internal/outcome:(*Question).rewritten", " && record.Requested(kv) == nil", ""},
	{"a turn is taken for a commit", "internal/outcome:(*Question).rewritten", ", record.ToldFirst(kv):", ":"},
	{"a turn is told by one that is not the first", "internal/place:(*Place).TellTurn", " || !p.First()", ""},
	{"the turn of an older entry is believed", "internal/place:(*Place).takeTurn", "kv == nil || !p.Is(kv)", "kv == nil"},
	{"more slots than there are", "internal/record:(Claim).Room", "c.Slots - c.Weight", "c.Slots - min(c.Weight, 1)"},
	{"slots beside one that is alone", "internal/record:(Claim).takenBy", "return max(c.Slots, 1)", "return 1"},
	{"a small request overtakes a large one", "internal/record:(Claim).takenBy", "return ahead.Weight", "return min(ahead.Weight, max(c.Room(), 1))"},
	{"slots that are free are not taken while the nearest stays", "internal/place:(*Place).consult", "p.behind(taken) && ", "len(left) > 0 && "},
	{"two goroutines have one seat", "internal/entry:(*Set).newEntry", "if e.seat > 0 {", "if e.seat > 1<<20 {"},
	{"a release in the background opens the lane before it is settled", "(*Hold).freeInBackground", "h.l.spawn(h.freeLater)", "h.l.spawn(func() { h.entry.OpenLane(); h.freeLater() })"},
	{"a release in the background is not made", "(*Hold).freeInBackground", "h.l.spawn(h.freeLater)", "h.l.spawn(h.notifyEnd)"},
	{"a release in the background that fails is not tried again", "(*Hold).unfreed", "h.settle(err)", "if h.l.inBackground {\n\t\th.entry.Done()\n\t\th.markFreed()\n\t} else {\n\t\th.settle(err)\n\t}"},
	{"passing errors are final", "internal/calls:passes", "|| etcderr.Passing(err)", "|| false && etcderr.Passing(err)"},
}

func TestEveryMistakeCanBePlanted(t *testing.T) {
	for _, m := range slices.Concat(mistakes, backgroundMistakes, guardMistakes, packageMistakes) {
		t.Run(m.name, func(t *testing.T) { plant(t, m) })
	}
}

func TestPlantedMistakesAreFound(t *testing.T) {
	hunt(t, mistakes, func(mistake) []string {
		return []string{"-timeout=1h", "-run=^TestLocksKeepTheirPromisesUnderRandomFaults$", ".", fmt.Sprint("-seeds=", *mutations)}
	})
}

// hunt plants each mistake, and wants go test with these arguments to fail.
func hunt(t *testing.T, mistakes []mistake, args func(mistake) []string) {
	if *mutations == 0 {
		t.Skip("-mutations=2000 runs it; it takes some minutes")
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			args := append([]string{"test", "-overlay=" + plant(t, m), "-vet=off", "-count=1"}, args(m)...)
			out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
			found := regexp.MustCompile(`seed \d+: .*`).Find(out)
			if found == nil {
				found = regexp.MustCompile(`(?m)^ *--- FAIL: .*|^panic: .*|^fatal error: .*`).Find(out)
			}
			switch {
			case err == nil:
				t.Error("not found")
			case found == nil:
				t.Errorf("%v:\n%s", err, out)
			default:
				t.Logf("%.200s", found)
			}
		})
	}
}
