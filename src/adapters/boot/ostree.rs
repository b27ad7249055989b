//! rpm-ostree: kernel arguments belong to a deployment.
//!
//! A change makes a new deployment, which is put in place in one go by a symbolic link (ostree, "Atomic upgrades"); the running one stays
//! in the menu. So nothing has to be in front meanwhile, and undoing is the same with the opposite.

use super::super::Work;
use super::{Menu, Todo, WordChange, escape_typed, todo};
use crate::facts::Snapshot;
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = Work::default();
    if change.escape {
        work.notes.push(escape_typed(Menu::Grub, change.ids));
    }
    let todo = todo(&snap.boot, change);
    if todo.is_empty() {
        return work;
    }
    let back = Todo { add: todo.remove.clone(), remove: todo.add.clone() };
    let action = Action::Run {
        argv: kargs(&todo),
        undo: kargs(&back),
        // Bringing back a deployment's files one by one would make what ostree never made.
        touches: Vec::new(),
        fence: None,
    };
    work.commands.push(Step { action, why: reason("ostree-kargs", &[]) });
    work
}

/// The command for a change (rpm-ostree(1), `kargs`: both options may repeat, and do nothing where nothing is to do).
fn kargs(todo: &Todo) -> Vec<String> {
    let mut argv = vec!["rpm-ostree".to_owned(), "kargs".to_owned()];
    argv.extend(todo.add.iter().map(|word| format!("--append-if-missing={word}")));
    argv.extend(todo.remove.iter().map(|word| format!("--delete-if-present={word}")));
    argv
}
