//! Everything that the lab can run, under one roof: by name, by what it boots, and as one call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cells::{self, Cell};
use crate::swifts::{self, Swift};
use crate::takes::{self, Extra, Take};
use crate::{cell, swift, take};

/// One cell.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    Look(Cell),
    Take(Take),
    Swift(Swift),
}

impl Job {
    /// The name by which it is chosen.
    pub fn name(&self) -> String {
        match self {
            Job::Look(cell) => cell.name(),
            Job::Take(take) => take.name(),
            Job::Swift(swift) => swift.name(),
        }
    }

    /// The image that it boots; made if it isn't there. Its name changes with everything that it is made from.
    pub fn image(&self) -> Result<PathBuf, String> {
        match self {
            Job::Look(cell) => cell.variant.image(),
            Job::Take(take) => take.variant.image(),
            Job::Swift(swift) => swift::image(swift),
        }
    }

    /// The scripts that its host gets.
    pub fn scripts(&self) -> Vec<String> {
        match self {
            Job::Look(_) => cell::SCRIPTS.map(str::to_owned).into(),
            Job::Take(_) => take::SCRIPTS.map(str::to_owned).into(),
            Job::Swift(swift) => swift.scripts(),
        }
    }

    /// Runs it; gives everything that is wrong.
    pub fn run(&self, image: &Path, folder: &Path, binary: &Path, look: impl FnMut(Duration)) -> Vec<String> {
        match self {
            Job::Look(cell) => cell::run(cell, image, folder, binary, look),
            Job::Take(take) => take::run(take, image, folder, binary, look),
            Job::Swift(swift) => swift::run(swift, image, folder, binary, look),
        }
    }
}

/// Every cell, the long ones first.
pub fn all() -> Vec<Job> {
    let takes = takes::all().into_iter().map(Job::Take);
    let cells = cells::all().into_iter().map(Job::Look);
    takes.chain(cells).chain(swifts::all().into_iter().map(Job::Swift)).collect()
}

/// The cells that changed a host and were seen to pass.
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
            let subset = [&cells::SUBSET[..], &takes::SUBSET, &swifts::SUBSET];
            subset.concat().contains(&job.name().as_str())
        }
        "unproven" => !matches!(job, Job::Look(_)) && !PROVEN.lines().any(|name| name == job.name()),
        "cuts" => matches!(job, Job::Take(Take { extra: Extra::Cuts(_), .. })),
        name if exact => job.name() == name,
        part => job.name().contains(part),
    }
}
