// Package applications watches Argo CD's Applications for the suite: it knows
// the newest state of each, remembers when what was seen, and counts the ones
// that vanish, because nothing that goes wrong may delete one.
package applications
