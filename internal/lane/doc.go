// Package lane lets callers in one process take turns: one at a time for each key, in the order in which they came. It knows no
// locks, no leases and no etcd; what callers say about themselves (W) and what passes with a lane (C) are values that it carries
// and does not look into.
//
// A lane is occupied by the caller that entered it, until that one leaves it, hands it to the next in line, or parks something in
// it and goes. What is handed over or parked comes with the lane to the next caller: the zero C is nothing. A key that nobody
// deals with, and in which nothing is parked, has no lane and costs nothing.
//
// # Sharing
//
// An occupant may share what it has. Callers that want to share then join it: at once within a term, if nobody waits. After the
// term somebody must ask for another, as whoever waits elsewhere cannot be seen from here: see [Table.Share]. All of them have the
// same C, and each parts once. The last one to part is the occupant again, alone.
//
// # Seats
//
// A lane may be divided into slots, of which callers want some: see [Table.EnterSeat]. Then it has several occupants, each with a
// seat and what came with it, and seat 0 stands for the lane as a whole. Those who want it divided in another way, or whole, wait
// in the same line.
//
// # Invariants
//
//   - A lane has one occupant, or several that share, or several with seats that want no more slots than there are. Nobody else
//     gets the lane, or a seat, before its occupant gives it away.
//   - Callers that wait get the lane in their order. One that wants to share joins only as the first in line, so it overtakes
//     nobody.
//   - A caller that gives up is as if it had not come. If the lane passed to it at that very moment, it goes on to the next; what
//     came with it is never dropped: the caller gets it, or [Config.Orphan] does if its goroutine has ended.
//   - Only the first in line is handed anything, so an offer that was made for one caller goes to no other.
//   - A mutex is never held over a callback. A callback that panics or calls runtime.Goexit leaves the lane as if its caller had not
//     come.
package lane
