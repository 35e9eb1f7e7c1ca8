// Package nemesis runs processes that use locks on a real etcd cluster of three members, does to both what a bad day can do,
// and judges what they saw by their histories. It has only tests:
//
//	go test ./internal/nemesis                                    some seconds, as in CI
//	go test ./internal/nemesis -nemesis=30m -timeout=1h -v        the long form, with its figures
//	go test ./internal/nemesis -seed=42                           the choices of a former run
//	go test ./internal/nemesis -run Upgraded -rolling -v          upgrades the cluster from etcd 3.5 to 3.7 meanwhile
//
// Two clusters have their bad day at the same time: one without auth, and one where clients are users who may do what the
// README asks for, and no more, with tokens of 3 seconds. To see one alone: -run Bad/without or -run Bad/with_auth.
//
// The seed decides which faults strike when, and for how long. What the faults meet is up to the machine, so a seed that
// failed need not fail again: the histories of a run that failed are kept, and the failure says where.
//
// # Work
//
// A client is a process: this test binary, run again. Its workers take locks in all the ways there are. Under a lock they
// read, and then write, two registers: one in etcd, whose writes carry Hold.Fence and do not compare the value, so that two
// holders would overwrite each other; and one that is no part of etcd and knows nothing but tokens. A client also campaigns
// in an election, and runs the ticks of one job with once.Do, one after the other. Every client sees the members through
// proxies of its own, and behind these is one for each member, which all clients share.
//
// # Faults
//
// Members, and clients, are killed and paused, one by one and all at once; leaders most of all. Followers are paused under
// their leader. Members are restarted in turn. A member that lives swallows what all clients send. Connections are cut,
// delayed, and lose all they carry. The store is compacted and defragmented, and filled until etcd has no space; then
// somebody makes space and clears the alarm. Locks are evicted, their keys deleted, and leases revoked. With auth, the role
// loses its permission and gets it back, auth is switched off and on, and the password is another: for a while, which clients
// must survive, or for good, and then all clients are restarted with the new one. A round of faults is followed by calm,
// in which everybody must make progress. Links between members are not cut one by one: a cluster can give each member but
// one address.
//
// Members that swallow and a full quota come first, so that the shortest run has them.
//
// # Judgement
//
// A client writes down what it does, with the time of the one clock that all processes share: the time of a call before it,
// the time of an answer after it. So the true moment always lies between two that are known.
//
// One holder: to believe is to see Hold.Err give nil. The time is taken before the look, so that a process which is paused
// after it is not held to more than it saw. Nobody may believe in a hold when a later one has been granted. The exception
// is an operator's act. Whoever deletes a key, evicts, or revokes a lease takes the lock away at once, and the old holder
// hears of it afterwards: within 2 seconds where nothing else is wrong. Only the hold that was struck may be late, and only
// by so much. Fences and tokens have no exception.
//
// A term of the election is judged as a hold. To believe is to see IsLeader give true.
//
// Each tick is done once. At most one run of it is confirmed. If none is, there is a run that came to its end and whose outcome is
// unknown, or whose client was killed. No tick is left out.
//
// An acquire may fail with an error of etcd only where a fault explains it: no space, no permission, a wrong password.
// Everything else passes, and the acquire with it waits.
//
// Each committed write leaves a record of its own beside the register, so that in the end etcd itself tells which writes it
// has made and in which order, those of killed clients too. Each must have read what the one before it wrote: then nothing
// is lost. Porcupine judges locks, and reads and writes of the fenced register, for linearizability.
package nemesis
