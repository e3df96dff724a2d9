// Package hotfix answers three questions about changes that people make on
// branches of their own, on top of what an environment runs: where was the
// branch cut, is the change contained in something else, and what comes out when
// several are merged onto a release.
//
// A hotfix is everything from its base to its head, two commits. It is contained
// in a tree if the three-way merge of base and head into that tree changes
// nothing. Ancestry, equal changes and what commit messages say are evidence
// beside that, and decide only where the merge cannot: where the tree has
// changed the same lines, the fix is contained if the history shows that it was
// there before, and unknown otherwise. Unknown is never contained.
//
// Nothing is remembered: the same commits give the same answers.
package hotfix
