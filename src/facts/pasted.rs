//! Pasted text as a snapshot in which nearly all is unknown.

use super::{Needs, Snapshot, collect};
use super::{Origin, TextFile};
use crate::host::{Fact, Recorded};

/// Makes a snapshot of pasted text; `name` is how evidence names it.
pub fn snapshot(name: &str, text: &str) -> Snapshot {
    let nothing = Recorded::builder().build();
    let mut snap = collect(&nothing, Needs::LIST);
    snap.origin = Origin::Paste(name.to_owned());
    snap.log = Fact::Known(TextFile { path: name.to_owned(), text: text.to_owned() });
    snap
}
