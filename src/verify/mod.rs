//! Is every expectation of a plan true now?
//!
//! Goes in: expectations, what is known of the transaction that made them, and a fresh snapshot. Comes out: which hold, which
//! don't and the likely reason, which cannot be known and why. Pure. The sentences stand in `reasons.en.txt`.

mod boot;
mod device;
mod file;
mod probed;
mod sriov;

pub use probed::{Answer, probed};

use crate::facts::{Evidence, Snapshot};
use crate::host::Why;
use crate::steps::Expectation;
use crate::steps::reasons::fill;

/// The sentences.
const ENGLISH: &str = include_str!("reasons.en.txt");

/// What was applied, as far as it is asked here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applied<'a> {
    /// What must be true.
    pub expect: &'a [Expectation],
    /// The id of the boot in which it was applied, where known and a reboot is needed.
    pub boot_id: Option<&'a str>,
}

/// Whether one expectation is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is true.
    Holds,
    /// It is not.
    Fails,
    /// It cannot be known.
    Unknown,
}

/// One expectation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was expected; none for what is asked of the next boot only.
    pub expect: Option<Expectation>,
    /// The same in one sentence.
    pub about: String,
    /// Is it true?
    pub state: State,
    /// Names the reason in the table; empty where it holds and there is nothing to say.
    pub reason: &'static str,
    /// The reason in one or two sentences, what to do included.
    pub text: String,
    /// Where it can be seen.
    pub evidence: Vec<Evidence>,
}

/// Compares all expectations with a host that runs.
pub fn running(snap: &Snapshot, applied: &Applied<'_>) -> Vec<Outcome> {
    let ctx = Ctx { snap, applied };
    applied.expect.iter().map(|expect| outcome(&ctx, expect)).collect()
}

/// Will what boots next still do what was applied? Asks entries, images and files alone, not the running system.
pub fn next_boot(snap: &Snapshot, expect: &[Expectation]) -> Vec<Outcome> {
    use Expectation::{Entries, File, Images};
    let applied = Applied { expect, boot_id: None };
    let ctx = Ctx { snap, applied: &applied };
    let lasting = expect.iter().filter(|one| matches!(one, Entries { .. } | Images { .. } | File { .. }));
    let mut outcomes: Vec<Outcome> = lasting.map(|one| outcome(&ctx, one)).collect();
    if !outcomes.is_empty() {
        outcomes.extend(boot::default_entry(&ctx).map(|judged| judged.outcome(None)));
    }
    outcomes
}

fn outcome(ctx: &Ctx<'_>, expect: &Expectation) -> Outcome {
    let judged = match expect {
        Expectation::IommuOn => device::iommu(ctx),
        Expectation::CommandLine { word, present } => boot::command_line(ctx, word, *present),
        Expectation::Entries { word, present } => boot::entries(ctx, word, *present),
        Expectation::Driver { address, id, driver } => device::driver(ctx, address, id, driver),
        Expectation::VirtualFunctions { address, id, count } => sriov::virtual_functions(ctx, address, id, *count),
        Expectation::GroupViable { address } => device::group_viable(ctx, address),
        Expectation::NothingElseTaken { addresses } => device::nothing_else(ctx, addresses),
        Expectation::Images { method, modules, files } => boot::images(ctx, *method, modules, files),
        Expectation::File { path, sha256 } => file::file(ctx, path, sha256.as_deref()),
    };
    judged.outcome(Some(expect.clone()))
}

/// What every judgement gets.
struct Ctx<'a> {
    snap: &'a Snapshot,
    applied: &'a Applied<'a>,
}

impl Ctx<'_> {
    /// The host still runs the boot in which the change was made.
    fn same_boot(&self) -> Option<Evidence> {
        let now = self.snap.own.boot_id.known()?;
        let same = self.applied.boot_id == Some(now.as_str());
        same.then(|| Evidence::new("/proc/sys/kernel/random/boot_id", now.clone()))
    }

    /// Where a host or its user switched the claim off for this boot.
    fn switched_off(&self) -> Option<Evidence> {
        let line = self.snap.kernel.cmdline.known()?;
        let off = crate::parse::cmdline::Cmdline::parse(&line.text).has_word("vfioneer=off");
        off.then(|| Evidence::at(line.path.clone(), 1, line.text.trim()))
    }
}

/// A judgement: ids of sentences, values for them, evidence.
struct Judged {
    state: State,
    about: &'static str,
    reason: &'static str,
    values: Vec<(&'static str, String)>,
    evidence: Vec<Evidence>,
}

impl Judged {
    fn new(about: &'static str, state: State, reason: &'static str) -> Judged {
        Judged { state, about, reason, values: Vec::new(), evidence: Vec::new() }
    }

    fn holds(about: &'static str) -> Judged {
        Judged::new(about, State::Holds, "")
    }

    fn fails(about: &'static str, reason: &'static str) -> Judged {
        Judged::new(about, State::Fails, reason)
    }

    /// Cannot be known, because a fact could not be read.
    fn unknown(about: &'static str, what: &str, why: &Why) -> Judged {
        let reason = if *why == Why::NotPermitted { "not-root" } else { "not-known" };
        Judged::new(about, State::Unknown, reason).value("what", what).value("why", why)
    }

    fn value(mut self, name: &'static str, value: impl ToString) -> Judged {
        self.values.push((name, value.to_string()));
        self
    }

    fn evidence(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Judged {
        for one in evidence {
            if !self.evidence.contains(&one) {
                self.evidence.push(one);
            }
        }
        self
    }

    fn outcome(self, expect: Option<Expectation>) -> Outcome {
        let values: Vec<(&str, &str)> = self.values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = if self.reason.is_empty() { String::new() } else { fill(ENGLISH, self.reason, &values) };
        let about = fill(ENGLISH, self.about, &values);
        Outcome { expect, about, state: self.state, reason: self.reason, text, evidence: self.evidence }
    }
}

#[cfg(test)]
mod tests;
