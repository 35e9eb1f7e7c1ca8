package record

import "go.etcd.io/etcd/api/v3/mvccpb"

// A Claim is how an entry is to hold its lock. The zero Claim is to hold it alone.
type Claim struct {
	Shared bool // with others that share

	// Slots is above 0 for an entry that takes Weight of so many slots.
	Slots, Weight int
}

// Mode is the mode in which an entry with the claim holds its lock.
func (c Claim) Mode() string {
	switch {
	case c.Shared:
		return Shared
	case c.Slots > 0:
		return Slots
	}
	return Exclusive
}

// Claim returns what r claims. Slots that make no sense claim the lock alone.
func (r *Record) Claim() Claim {
	switch {
	case r.Mode == Shared:
		return Claim{Shared: true}
	case r.Mode == Slots && r.Slots > 0:
		return Claim{Slots: r.Slots, Weight: min(max(r.Weight, 1), r.Slots)}
	}
	return Claim{}
}

// ClaimOf returns what an entry claims. A foreign one claims the lock alone.
func ClaimOf(kv *mvccpb.KeyValue) Claim {
	r, ok := Parse(kv.Value)
	if !ok {
		return Claim{}
	}
	return r.Claim()
}

// Room is how much those ahead of an entry may take while it holds: see Taken.
func (c Claim) Room() int { return c.Slots - c.Weight }

// Taken is how much of the Room of c an entry ahead takes, whether that holds or waits: so nobody overtakes one that waits for
// many slots. One that claims the lock alone, shares it or divides it into another number of slots takes all of it, but those who
// share take nothing from each other.
func (c Claim) Taken(ahead *mvccpb.KeyValue) int {
	if c == (Claim{}) {
		return 1
	}
	return c.takenBy(ClaimOf(ahead))
}

func (c Claim) takenBy(ahead Claim) int {
	switch {
	case c.Shared && ahead.Shared:
		return 0
	case c.Slots > 0 && c.Slots == ahead.Slots:
		return ahead.Weight
	}
	return max(c.Slots, 1)
}
