// Package lease lets replicas of a program share work, in a way that nothing may
// depend on: it saves work, and when in doubt two of them do the same.
//
// A group is the set of members that can do the same work. Each member has a
// Lease of its own, which it renews three times in a Lifetime, and looks at those
// of the others as often. It takes another one for alive while that one's Lease
// was seen to change within a Lifetime by its own clock; one that it has not seen
// to change yet is none. Clocks are never compared, and no member is elected.
//
// Each key, a name for a piece of work, is owned by the live member with the
// highest rank for it (rendezvous hashing). With one key that is the election of
// a leader; with many it spreads them evenly, and a member that comes or goes
// changes the owner of its own share only.
//
// What is promised: of the members that run, the one with the highest rank for a
// key owns it, unless it takes one for alive that is not. That lasts for [Bound]
// after the other one's end, whatever the network does to whom. So a key is
// without an owner for no longer than that after a member went, and never because
// one came. A member that hears nothing for a Lifetime owns everything, and so
// does one that lacks the rights.
//
// What is not promised: that there is one owner only. While members see
// different ones alive there may be several.
package lease
