package simulation_test

import (
	"fmt"
	"testing"
)

// Mistakes in package guard, which its own simulation must find.
var guardMistakes = []mistake{
	{"an update without a look at its value", "guard:commit", `clientv3.Compare(clientv3.ModRevision(c.name), "=", c.from)`, `clientv3.Compare(clientv3.ModRevision(c.name), ">", -1)`},
	{"a deletion that puts an empty value", "guard:(change).op", "clientv3.OpDelete(c.name)", "clientv3.OpPut(c.name, \"\")"},
	{"a deletion of what is stored does nothing", "guard:(*Guard).Delete", "case from == nil:", "case from != nil:"},
	{"a deletion that fails counts as done", "guard:(*Guard).Delete", "return err\n\t\t}\n\t\tdeleted = true", "deleted = true\n\t\t\treturn err\n\t\t}\n\t\tdeleted = true"},
	{"a deletion that is done counts as failed", "guard:(*Guard).Delete", "deleted = true\n\t\treturn nil\n\t})", "return errSharing\n\t})"},
	{"an outcome that is unknown counts as fenced off", "guard:commit", "case errors.Is(err, locker.ErrOutcomeUnknown):\n\t\treturn err", "case errors.Is(err, locker.ErrOutcomeUnknown):\n\t\treturn ErrFenced"},
	{"a value without its lock is committed while others queue", "internal/optimistic:(*Attempt).Commit", "a.vacant(), clientv3", "clientv3"},
	{"a value without its lock is committed over another", "internal/optimistic:(*Attempt).Commit", "clientv3.Compare(clientv3.ModRevision(a.name), \"=\", rev)", "clientv3.Compare(clientv3.ModRevision(a.name), \">\", -1)"},
	{"a commit in doubt counts as not carried out", "internal/optimistic:(*Attempt).Commit", "case doubt:", "case doubt && false:"},
	{"another's value counts as that of a commit in doubt", "guard:(stored).settle", "return d, outcomeUnknown(nil) // somebody else may have stored the same", "return nil, nil"},
	{"a retained value is known by the revision of another", "internal/entry:(*Entry).remember", "e.known = nil", "if e.known != nil {\n\t\te.known.ModRevision = rev\n\t\treturn\n\t}"},
	{"a deletion is not watched", "guard:(*follower).take", "kv = nil\n", "continue\n"},
	{"a deletion is watched as the value before it", "guard:(stored).version", "kv.GetModRevision()", "max(1, kv.GetModRevision())"},
	{"a watch begins anew from now on", "guard:(*follower).open", "clientv3.WithRev(f.seen+1)", "clientv3.WithRev(0)"},
	{"a watch tells what was read already", "guard:(*follower).take", "if rev <= f.seen {", "if rev < f.seen {"},
}

func TestPlantedMistakesOfGuardAreFoundByItsSimulation(t *testing.T) {
	hunt(t, guardMistakes, func(mistake) []string {
		return []string{"-timeout=1h", "-run=Simulation", module + "/guard", fmt.Sprint("-seeds=", *mutations)}
	})
}
