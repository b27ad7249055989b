//! Everything that the lab can run, under one roof: by name, by its disk, and as one call.

use std::path::Path;
use std::time::Duration;

use crate::cells::{self, Cell};
use crate::takes::{self, Extra, Take};
use crate::variant::{Image, Variant};
use crate::{cell, take};

/// One cell.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    Look(Cell),
    Take(Take),
}

impl Job {
    /// The name by which it is chosen.
    pub fn name(&self) -> String {
        match self {
            Job::Look(cell) => cell.name(),
            Job::Take(take) => take.name(),
        }
    }

    /// Its disk.
    pub fn variant(&self) -> Variant {
        match self {
            Job::Look(cell) => cell.variant,
            Job::Take(take) => take.variant,
        }
    }

    /// Runs it; gives everything that is wrong.
    pub fn run(&self, image: &Image, folder: &Path, binary: &Path, look: impl FnMut(Duration)) -> Vec<String> {
        match self {
            Job::Look(cell) => cell::run(cell, image, folder, binary, look),
            Job::Take(take) => take::run(take, image, folder, binary, look),
        }
    }
}

/// Every cell, the long ones first.
pub fn all() -> Vec<Job> {
    let takes = takes::all().into_iter().map(Job::Take);
    takes.chain(cells::all().into_iter().map(Job::Look)).collect()
}

/// The cells that took a device and were seen to pass.
const PROVEN: &str = include_str!("proven.txt");

/// The cells that a selection names, in its order, each once: words, each of which is `all`, `subset`, `cuts`, `unproven`, a cell's
/// whole name, or else a part of names.
pub fn select(selection: &str) -> Vec<Job> {
    let mut selected: Vec<Job> = Vec::new();
    for word in selection.split_whitespace() {
        for job in all().into_iter().filter(named(word)) {
            if !selected.iter().any(|known| known.name() == job.name()) {
                selected.push(job);
            }
        }
    }
    selected
}

/// Whether a word names a cell.
fn named(word: &str) -> impl Fn(&Job) -> bool {
    let exact = all().iter().any(|job| job.name() == word);
    move |job| match word {
        "all" => true,
        "subset" => {
            let name = job.name();
            cells::SUBSET.contains(&name.as_str()) || takes::SUBSET.contains(&name.as_str())
        }
        "unproven" => matches!(job, Job::Take(_)) && !PROVEN.lines().any(|name| name == job.name()),
        "cuts" => matches!(job, Job::Take(Take { extra: Extra::Cuts(_), .. })),
        name if exact => job.name() == name,
        part => job.name().contains(part),
    }
}
