package waits

import (
	"fmt"
	"strings"
	"testing"
)

// chain returns the chain of lock "1" among locks that are written as "lock: holders | waiters", where * is an owner without a name.
func chain(locks ...string) string {
	g := New[string](func(o string) string { return strings.TrimSuffix(o, "*") })
	var first []string
	for _, l := range locks {
		key, owners, _ := strings.Cut(l, ": ")
		holders, waiters, _ := strings.Cut(owners, " | ")
		g.Add(key, strings.Fields(holders), strings.Fields(waiters))
		if key == "1" {
			first = strings.Fields(holders)
		}
	}
	links, cycle := g.Chain("1", first)
	return show(links) + " cycle" + show(cycle)
}

func show(links []Link[string, string]) (text string) {
	for _, l := range links {
		text += fmt.Sprintf(" %s>%s>%s", l.Waiter, l.Key, l.Holder)
	}
	return text
}

func TestAChain(t *testing.T) {
	for _, c := range []struct {
		name  string
		locks []string
		want  string
	}{
		{"of a free lock", []string{"2: a | b"}, " cycle"},
		{"of a holder that waits for nothing", []string{"1: a | b", "2: b | c"}, " >1>a cycle"},
		{"over three locks", []string{"1: a", "2: b | a", "3: c | b"}, " >1>a a>2>b b>3>c cycle"},
		{"of those who share", []string{"1: a b", "2: c | b", "3: d | a"}, " >1>a a>3>d >1>b b>2>c cycle"},
		{"of an owner that waits for two", []string{"1: a", "2: b | a", "3: c | a"}, " >1>a a>2>b a>3>c cycle"},
		{"of an owner that waits twice for one", []string{"1: a", "2: b | a a"}, " >1>a a>2>b cycle"},
		{"that closes", []string{"1: a | b", "2: b | a"}, " >1>a a>2>b b>1>a cycle a>2>b b>1>a"},
		{"that closes further on", []string{"1: a", "2: b | a c", "3: c | b"}, " >1>a a>2>b b>3>c c>2>b cycle b>3>c c>2>b"},
		{"that waits for itself", []string{"1: a | a"}, " >1>a a>1>a cycle a>1>a"},
		{"with two cycles", []string{"1: a | b c", "2: b | a", "3: c | a"}, " >1>a a>2>b b>1>a a>3>c c>1>a cycle a>2>b b>1>a"},
		{"that meets one again, without a cycle", []string{"1: a b", "2: c | a b", "3: d | c"}, " >1>a a>2>c c>3>d >1>b b>2>c cycle"},
		{"that ends without a name", []string{"1: a", "2: * | a", "3: b | *"}, " >1>a a>2>* cycle"},
	} {
		if got := chain(c.locks...); got != c.want {
			t.Errorf("the chain %s: got%s, want%s", c.name, got, c.want)
		}
	}
}
