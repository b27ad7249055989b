//! The file tree of a host before and after: every file that came, went or changed.

use std::collections::BTreeMap;

/// Files by path, with everything that is compared.
type Tree<'a> = BTreeMap<&'a str, (&'a str, &'a str, &'a str, &'a str)>;

/// Reads what `tree.sh` wrote; a line that it cannot have written is a problem of its own.
fn parse(text: &str) -> Result<Tree<'_>, String> {
    let mut tree = Tree::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, mode, owner, path, value] = fields[..] else { return Err(format!("no line of a tree: {line}")) };
        tree.insert(path, (kind, mode, owner, value));
    }
    // A listing that broke off would make two equal ones.
    let there = ["etc/fstab", "usr/bin", "boot"].iter().all(|path| tree.contains_key(path));
    if there { Ok(tree) } else { Err("the file tree is not whole".to_owned()) }
}

/// Every difference, in a line each, apart from paths that hold a part of `ignored`.
pub fn differences(before: &str, after: &str, ignored: &[&str]) -> Result<Vec<String>, String> {
    let (before, after) = (parse(before)?, parse(after)?);
    let mut problems = Vec::new();
    let mut report = |path: &str, what: String| {
        if !ignored.iter().any(|part| path.contains(part)) {
            problems.push(format!("/{path} {what}"));
        }
    };
    for (path, one) in &before {
        match after.get(path) {
            None => report(path, "is gone".to_owned()),
            Some(other) if one != other => report(path, format!("changed: {one:?} is now {other:?}")),
            Some(_) => {}
        }
    }
    for (path, one) in &after {
        if !before.contains_key(path) {
            report(path, format!("was not there: {one:?}"));
        }
    }
    Ok(problems)
}
