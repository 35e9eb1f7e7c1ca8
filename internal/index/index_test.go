package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func accept() error { return nil }

func TestAnIndexIsWhatWasAddedAndNotRemoved(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x Index[int]
	want := map[string][]int{}
	for i := range 10_000 {
		name := fmt.Sprint(r.IntN(40))
		switch vs := want[name]; {
		case r.IntN(2) == 0:
			if err := x.Add(name, i, accept); err != nil {
				t.Fatal(err)
			}
			want[name] = append(vs, i)
		case len(vs) > 0:
			at := r.IntN(len(vs))
			x.Remove(name, vs[at])
			want[name] = slices.Delete(vs, at, at+1)
		default:
			x.Remove(name, i) // is not there
		}
		if got := x.Get(name); !slices.Equal(got, want[name]) {
			t.Fatalf("step %d: %s has %v, want %v", i, name, got, want[name])
		}
	}
	var all []int
	for _, vs := range want {
		all = append(all, vs...)
	}
	odd := func(v int) bool { return v%2 == 1 }
	got := x.All(odd)
	want2 := slices.DeleteFunc(slices.Clone(all), func(v int) bool { return !odd(v) })
	slices.Sort(got)
	slices.Sort(want2)
	if !slices.Equal(got, want2) {
		t.Errorf("%d odd values, want %d", len(got), len(want2))
	}
	for _, v := range all {
		for name, vs := range want {
			if slices.Contains(vs, v) {
				x.Remove(name, v)
			}
		}
	}
	for i := range x {
		if n := len(x[i].m); n > 0 {
			t.Errorf("%d names are left", n)
		}
	}
}

func TestARefusedValueIsNotThere(t *testing.T) {
	var x Index[int]
	no := errors.New("no")
	if err := x.Add("a", 1, func() error { return no }); err != no {
		t.Errorf("got %v", err)
	}
	if got := x.Get("a"); got != nil {
		t.Errorf("found %v", got)
	}
}

func TestEachEndsWhenItIsTold(t *testing.T) {
	var x Index[int]
	for i := range 100 {
		if err := x.Add(fmt.Sprint(i%10), i, accept); err != nil {
			t.Fatal(err)
		}
	}
	for want := range 101 {
		n := 0
		x.Each(func(int) bool { n++; return n < want })
		if n != max(want, 1) {
			t.Errorf("yielded %d, want %d", n, want)
		}
	}
}

func TestAnIndexIsForSeveralGoroutines(t *testing.T) {
	var x Index[int]
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				name := fmt.Sprint(i % 10)
				if err := x.Add(name, g, accept); err != nil {
					t.Error(err)
				}
				if !slices.Contains(x.Get(name), g) {
					t.Error("not found")
				}
				x.All(func(int) bool { return false })
				x.Remove(name, g)
			}
		})
	}
	wg.Wait()
	if all := x.All(func(int) bool { return true }); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}
