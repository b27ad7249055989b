//! Are the entries of every kernel that can boot as the plan wants them? They are read again, from the files that the loader reads.

use super::execute::{Did, Failure};
use crate::facts::{self, Needs};
use crate::host::HostMut;
use crate::steps::Expectation;
use crate::verify::{self, State};

/// Compares the entries with what the plan expects of them; those in `except` are vfioneer's own.
pub(super) fn entries(host: &dyn HostMut, expect: &[Expectation], except: &[&str]) -> Did {
    let is_entry = |one: &&Expectation| matches!(one, Expectation::Entries { .. });
    let wanted: Vec<Expectation> = expect.iter().filter(is_entry).cloned().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut snap = facts::collect(host, Needs { images: false, ..Needs::NEXT_BOOT });
    snap.boot.places.retain(|place| !except.contains(&place.file.path.as_str()));
    for outcome in verify::next_boot(&snap, &wanted) {
        if outcome.expect.is_some() && outcome.state == State::Fails {
            let place = outcome.evidence.first().map(|evidence| format!(" ({})", evidence.source)).unwrap_or_default();
            let (about, text) = (outcome.about.trim_end_matches('.'), outcome.text.trim_end_matches('.'));
            return Err(Failure::new(format!("read back, this is not so: {about}: {text}{place}")));
        }
    }
    Ok(())
}
