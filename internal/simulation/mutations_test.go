package simulation_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mutations = flag.Int("mutations", 0, "plant mistakes in package locker; each must be found within so many seeds")

// A mistake is a change to a file of package locker that breaks a promise. The old text must be there exactly once.
type mistake struct{ name, file, old, new string }

var mistakes = []mistake{
	{"deadline from receipt", "lease.go", "s.extend(sent, ", "sent = s.l.now()\n\ts.extend(sent, "},
	{"deadline without margin", "lease.go", "d := sent.add(ttl - ttl/margin)", "d := sent.add(ttl)"},
	{"release without comparison", "remove.go", "cmps: []clientv3.Cmp{created(name, rev)},", ""},
	{"grant without a look at the own entry", "claim.go", "if len(own) == 0 || !c.is(own[0]) {", "if len(own) < 0 {"},
	{"grant with others ahead", "feed.go", "c.place.ahead, c.place.n = left, len(left)", "c.place.ahead, c.place.n = nil, 0"},
	{"watch without reading again", "feed.go", "sure := live && f.from <= c.place.rev", "sure := live"},
	{"unknown outcome: lost answer taken for a refusal", "enter.go", "case refused(err):\n\t\t\tc.sent", "case true:\n\t\t\tc.sent"},
	{"unknown outcome: nothing cleaned up", "acquire.go", "if c.sent {\n\t\t\tc.settle", "if false {\n\t\t\tc.settle"},
	{"unknown outcome: late write forgotten", "settle.go", "if !deleted && c.rev == 0 {", "if deleted && !deleted {"},
	{"ctx not checked in the lane", "queue.go", "case <-ctx.Done():\n\t\terr", "case <-context.Background().Done():\n\t\terr"},
	{"ctx not checked in the queue", "feed.go", "case <-ctx.Done():\n\t\t\treturn", "case <-context.Background().Done():\n\t\t\treturn"},
	{"ctx not checked at the grant", "claim.go", "\treturn context.Cause(ctx)\n}", "\treturn nil\n}"},
	{"token not increased", "token.go", "Token(createRevision) << tokenShift", "1 << tokenShift"},
	{"lane opened before the release is settled", "settle.go", "c.clean(cause); finish()", "finish(); c.clean(cause)"},
	{"requeue of unknown outcome forgotten", "requeue.go", "c.heir = heir", "_ = heir"},
	{"lock handed on under its fence", "release.go", "return !h.fenced && ", "return "},
	{"end of a hook missed", "hold.go", "if !told {", "if !told && d.Cause == ErrReleased {"},
	{"try without a look at the queue", "enter.go", "of.RangeEnd = c.dirEnd()", "_ = c.dirEnd"},
	{"late write put over a younger entry", "enter.go", "cmps: []clientv3.Cmp{created(c.name, 0)}, ", ""},
	{"hope without a look at the queue", "enter.go", "empty.GetCompare().RangeEnd = c.dirEnd()", "_ = c.dirEnd"},
	{"several acquired although one is not free", "free.go", "t.cmps = append(t.cmps, c.unclaimed())", ""},
	{"shared hold beside one that is alone", "claim.go", "return !alone(kv) })", "return true })"},
	{"shared entry removed while others hold", "shared.go", "if s.readers--; s.readers > 0 {", "if s.readers--; s.readers < 0 {"},
	{"commit without the lock", "commit.go", "p.cmps = append(p.cmps, created(m.claim.name, m.claim.rev))", ""},
	{"commit of unknown outcome taken for not done", "commit.go", "done, known := p.resolve(still, ops)", "_ = still\n\tdone, known := false, true"},
	{"lease not revoked", "leases.go", "errs[i] = l.revokeLease(ctx, s.id)", "errs[i], _ = nil, s"},
}

func TestEveryMistakeCanBePlanted(t *testing.T) {
	for _, m := range mistakes {
		plant(t, m)
	}
}

func TestPlantedMistakesAreFound(t *testing.T) {
	if *mutations == 0 {
		t.Skip("-mutations=2000 runs it; it takes some minutes")
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay="+plant(t, m), "-vet=off", "-count=1", "-timeout=1h",
				"-run=^TestLocksKeepTheirPromisesUnderRandomFaults$", ".", fmt.Sprint("-seeds=", *mutations)).CombinedOutput()
			found := regexp.MustCompile(`(?m)seed \d+: .*|^panic: .*`).Find(out)
			switch {
			case err == nil:
				t.Errorf("not found within %d seeds", *mutations)
			case found == nil:
				t.Errorf("%v:\n%s", err, out)
			default:
				t.Logf("%.200s", found)
			}
		})
	}
}

// plant returns an overlay for the go command with the mistake in it.
func plant(t *testing.T, m mistake) string {
	file, err := filepath.Abs(filepath.Join("../../locker", m.file))
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), m.old); n != 1 {
		t.Errorf("%s: %q is in locker/%s %d times: mend the table of mistakes", m.name, m.old, m.file, n)
	}
	dir := t.TempDir()
	mutant, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{mutant: []byte(strings.Replace(string(src), m.old, m.new, 1)), overlay: replace} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
