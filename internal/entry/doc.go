// Package entry is a process's own side of the entries that it has in etcd's queues: how its goroutines get one, share it, pass it on,
// retain it, replace it by another, and give it up.
//
// A goroutine takes the lane of a key first, see package lane. With the lane may come an entry that is in etcd already. Otherwise the
// goroutine has one join the queue, see package queue. Whoever does not hold any more passes the entry on, has it stay, or removes
// it, and then opens the lane.
//
// # Invariants
//
//   - An entry belongs to the goroutine that occupies its lane, or its seat there, and passes with it. While several share it, none of
//     them changes it. The last one to part has it alone.
//   - A lane opens only when nothing of its entry is left in etcd, or what is left ends with its lease. So no goroutine here takes a
//     lock whose old entry may still go.
//   - Each hold under an entry has a turn of its own, later than those before it, and there are no more than [Config.Turns] says. Only
//     those who share it after the last turn all have that one.
//   - An entry serves holds one after another for the time of [Config.Handoff] since its own was granted, unless it is retained and
//     nobody else wants it.
//   - Nobody gets an entry that came with the lane unless its lease suits, lives, and was not lost.
//   - An acquire that fails leaves nothing behind, or settles that in the background.
//   - A callback may end the goroutine of an acquire: what that has of an entry is given up. If notify does, the caller must Settle.
//
// It knows no holds, no hooks and no options, and does not look into what a caller says of itself.
package entry
