//! Snapshot, goal and findings to a plan: guards, steps in order, expectations, notes. Pure.
//!
//! Only what this host needs is in a plan; what works already is left alone, so that a plan made after applying has no
//! steps. Each part is a small function in a file of its own, with its reason.

mod adopt;
mod case;
mod claiming;
mod driver;
mod expect;
mod guide_lines;
mod difference;
pub mod guards;
mod hand_over;
pub mod hook;
mod live;
mod merge;
mod notes;
mod repair;
pub mod reset;
mod rom;
mod sriov;
mod texts;
pub mod vm;
mod words;

use crate::adapters::boot::{self, WordChange};
use crate::adapters::hooks;
use crate::adapters::initramfs::{self, Contents};
use crate::facts::{Origin, Snapshot};
use crate::goal::{Goal, Method};
use crate::host::Kind;
use crate::parse::address::Address;
use crate::steps::{Action, Expectation, Step};
use case::Case;
use serde::Serialize;

pub use difference::difference;
pub use guide_lines::LeftOut;
pub use hand_over::{HandOver, give_back, hand_over};
pub use words::Word;

/// The name of the plan file's format.
pub const SCHEMA: &str = "vfioneer/plan/1";

/// What would change on a host, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The version of the program that made it.
    pub version: &'static str,
    /// True if `apply` would do it: nothing refused, nothing left to a person, made on the host itself.
    pub applicable: bool,
    /// The fingerprint of the host that it was made for; null if it has none or is a recording.
    pub host: Option<String>,
    /// The chosen functions, or those that make virtual ones.
    pub devices: Vec<Address>,
    /// The goal as it can be given again ([`crate::goal::Request`]): what `apply` makes the plan from once more.
    pub goal: serde_json::Value,
    /// What the kernel's command line needs, with the reasons; what is so already included.
    pub words: Vec<Word>,
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Must the host be rebooted afterwards?
    pub reboot: bool,
    /// What must be true then.
    pub expect: Vec<Expectation>,
    /// Why it is refused; then there are no steps.
    pub refused: Vec<guards::Refusal>,
    /// What a person has to do, where vfioneer doesn't.
    pub manual: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What guides have for such a goal, and this plan has not.
    pub left_out: Vec<LeftOut>,
}

impl Plan {
    /// One that changes nothing, for this host.
    fn empty(snap: &Snapshot) -> Plan {
        let own = matches!(snap.origin, Origin::Host(Kind::Live | Kind::Mounted, _));
        Plan {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            applicable: own,
            host: snap.own.fingerprint.known().filter(|_| own).cloned(),
            devices: Vec::new(),
            goal: serde_json::Value::Null,
            words: Vec::new(),
            steps: Vec::new(),
            reboot: false,
            expect: Vec::new(),
            refused: Vec::new(),
            manual: Vec::new(),
            notes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// True if something is to be done, by vfioneer or by a person.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.manual.is_empty()
    }
}

/// Makes a plan.
pub fn make(snap: &Snapshot, goal: &Goal) -> Plan {
    let case = Case::new(snap, goal);
    let mut plan = Plan {
        devices: case.named(),
        goal: serde_json::to_value(&goal.request).unwrap_or_default(),
        refused: guards::all(&case),
        ..Plan::empty(snap)
    };
    if plan.refused.is_empty() {
        fill(&case, &mut plan);
    }
    plan.applicable = plan.applicable && plan.refused.is_empty() && plan.manual.is_empty();
    plan
}

fn fill(case: &Case<'_>, plan: &mut Plan) {
    let repair = repair::all(case);
    plan.words = words::needed(case, repair.words);
    let wanted = claiming::wanted(case);
    let contents = wanted.clone().or_else(|| claiming::present(case)).map(|wanted| Contents::of(case.snap, &wanted));
    let mut claiming = wanted.as_ref().map(|wanted| initramfs::work(case.snap, wanted)).unwrap_or_default();
    if repair.images {
        claiming.commands.retain(|step| !matches!(step.action, Action::Generate { .. }));
        claiming.extend(initramfs::again(case.snap, &contents.clone().unwrap_or_default()));
    }
    let wanted = contents.as_ref().filter(|_| wanted.is_some());
    let stale = wanted.is_some_and(|contents| initramfs::is_stale(case.snap, contents));
    let word =
        |present: bool| plan.words.iter().filter(move |w| w.present == present).map(|w| w.word.clone()).collect();
    let change = WordChange {
        add: word(true),
        remove: word(false),
        escape: !case.chosen.is_empty() && case.adopted.is_none(),
        ids: case.goal.method == Method::Ids,
        images: stale || repair.images || !claiming.is_empty(),
        contents: Contents { outdated: repair.images, ..contents.unwrap_or_default() },
    };
    let mut work = claiming;
    if !case.chosen.is_empty() && case.adopted.is_none() {
        work.extend(hooks::work(case.snap));
    }
    work.extend(boot::work(case.snap, &change));
    work.extend(rom::work(case));
    work.extend(sriov::work(case));
    plan.notes = notes::all(case);
    plan.notes.extend(work.notes);
    plan.manual = work.manual;
    work.files.extend(repair.files);
    plan.steps = merge::same_files(work.files, &mut plan.notes);
    plan.steps.extend(in_order(work.commands));

    let live = live::hand_over(case, &plan.words);
    match live.and_then(|binds| Ok([binds, sriov::now(case)?].concat())) {
        Ok(steps) => plan.steps.extend(steps),
        Err(id) => {
            plan.reboot = true;
            plan.notes.push(texts::said(id, &[]));
        }
    }
    plan.left_out = guide_lines::left_out(case, &plan.words);
    plan.expect = expect::all(case, &plan.words, &plan.steps, work.expect);
}

/// What is generated comes before what tools write in place: images first, then the menus and copies made of them.
fn in_order(mut commands: Vec<Step>) -> Vec<Step> {
    commands.sort_by_key(|step| match &step.action {
        Action::Generate { .. } => 0,
        Action::Run { .. } => 1,
        Action::WriteFile { .. }
        | Action::RemoveFile { .. }
        | Action::Bind { .. }
        | Action::VirtualFunctions { .. } => 2,
    });
    commands
}

#[cfg(test)]
mod tests;
