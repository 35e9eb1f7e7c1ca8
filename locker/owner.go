package locker

import (
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// A Queue is who holds a lock and who waits for it, in the order of arrival.
type Queue struct {
	Key      keyspace.Key
	Holders  []Owner // also of a lock that only stays taken, see Owner.Until
	Waiters  []Owner
	Revision int64 // of etcd: the queue was so at that moment
}

// An Owner is an entry in the queue of a lock: that of a process, or with Slots of one caller.
type Owner struct {
	Name        string            // as given by WithOwner
	Token       Token             // of its first hold, or the one that it will have; 0 before it reached etcd
	Shared      bool              // it shares the lock, or wants to
	Slots       int               // how many the lock has, as this owner says; 0 without the option Slots
	Weight      int               // how many of them it takes, or wants
	Foreign     bool              // not written by this package: only Token and Announcement are known
	Since       time.Time         // when it began to wait, by its own clock
	Annotations map[string]string // what its hooks tell
	Until       time.Time         // not zero: it has released the lock, which stays taken until then by its clock, see AtLeast

	Announcement string // what it announces, see Announcing; of a foreign one, its key's whole value
	Written      int64  // the revision of etcd at which its entry was last written; it grows with each Announce
}

// String returns the name and the token, for logs.
func (o Owner) String() string {
	name := o.Name
	if o.Foreign {
		name = "foreign owner"
	}
	switch {
	case o.Shared:
		name += " (shared)"
	case o.Slots > 0:
		name += fmt.Sprintf(" (%d of %d slots)", o.Weight, o.Slots)
	}
	if o.Token == 0 {
		return name
	}
	return fmt.Sprintf("%s token %d", name, o.Token)
}

// String returns the owners in their order, for logs.
func (q Queue) String() string {
	if len(q.Holders) == 0 {
		return "free"
	}
	text := "held by " + names(q.Holders)
	if len(q.Waiters) > 0 {
		text += "; waiting: " + names(q.Waiters)
	}
	return text
}

func names(owners []Owner) string {
	all := make([]string, len(owners))
	for i, o := range owners {
		all[i] = o.String()
	}
	return strings.Join(all, ", ")
}

func ownerOf(kv *mvccpb.KeyValue) Owner {
	o := Owner{Token: tokenOf(kv.CreateRevision), Written: kv.ModRevision}
	r, ok := record.Parse(kv.Value)
	if !ok {
		o.Foreign, o.Announcement = true, string(kv.Value)
		return o
	}
	o.Announcement = r.Announcement()
	c := r.Claim()
	o.Name, o.Shared, o.Slots, o.Weight, o.Since, o.Annotations, o.Until = r.Owner, c.Shared, c.Slots, c.Weight, r.Since, r.Annotations, r.Until
	return o
}
