// Package merge merges and compares trees of git, with objects alone: no
// worktree, no git program, no network.
//
// [Trees] answers two questions about a change from a base to theirs: what does
// ours become with it, and is it in ours already? [Result.Empty] is the second
// answer: the merge is clean and changes nothing. [Diff] lists the files that
// differ between two trees, and [PatchID] names a change by its lines.
//
// # Trees
//
// Files are merged one by one, by path. Directories that are the same on both
// sides, or that only ours changed, are not read. A path that one side changed
// is as on that side; a path that both changed alike is as on both. Mode and
// content are merged each by itself. Otherwise, the content of a text is merged
// as below, and these are conflicts: a symlink, a submodule, a file with a NUL
// byte or of more than 8 MiB that both changed; a file that one side removed and
// the other changed; a file that both added, unless only line ends differ; a
// directory against a file.
//
// # Moved files
//
// Git does not record moves. Where one side changed a file and the other has it
// no more, the other side's new files are searched: first for the very content,
// then for the one that shares the most lines, more than half of the longer
// file, with the base's. If there is a single best one, the change goes there,
// and [Change.Origin] says so; if there are several, it is a conflict. A manifest
// of another object of Kubernetes is never the same file. With more than 200 new
// files only the very content counts.
//
// # Text
//
// Lines are compared as git merge-file compares them, and with the same results.
// Changes that overlap or touch are a conflict, unless both sides made the same
// of that part. If there is a conflict and a carriage return is involved, line
// ends are put aside and the merge is done again; the result has the line ends
// of ours. So a side that only changed line ends takes nothing away.
//
// # YAML
//
// In manifests the changes of two hotfixes often touch: image tags stand below
// each other. A file named .yaml or .yml whose lines conflict is therefore merged
// by structure, if all three versions can be parsed; and so is one that could not be
// parsed any more when merged by lines, because both sides have added the same key
// at different places:
//
//   - Documents belong together by apiVersion, kind, namespace and name, else by
//     number, if all three files have as many.
//   - Mappings are merged key by key. The order of keys has no meaning.
//   - Lists of mappings are merged item by item. What tells items apart is the
//     first of name, containerPort, port, mountPath, key, ip, host, path, image
//     and id that all of them have, with different values.
//   - Lists of scalars are merged as sets in which each item keeps its
//     neighbours.
//   - If both sides add to a list at the same place, it is a conflict, except in
//     the lists whose order is known not to matter (containers, env, images,
//     resources, volumes and a few more), and there only if neither side removed
//     anything. New items of ours then come first.
//   - Blocks of text that both changed, such as the files of a ConfigMap, are
//     merged as text.
//   - Anchors, aliases and merge keys that a side touched are a conflict. Nothing
//     is ever expanded.
//
// The result is made by editing the text of ours where a value changed: its
// comments, order and format stay. It is then parsed and must mean what the
// structural merge gave. What cannot be edited that way is a conflict; nothing is
// guessed. A comment of theirs comes along with a new entry, and where the lines
// around it merged; a change of theirs to a comment beside a conflict is left
// out, because it means nothing.
//
// # Results
//
// The same input gives the same ids in the same order. Where there is a
// conflict, the file stays as in ours, and [Conflict] names both sides, the file
// and the lines. Conflicts are no errors: an error means that objects could not
// be read, which is not the same as a file that is not there.
//
// All functions can be called at the same time if the reader allows it.
package merge
