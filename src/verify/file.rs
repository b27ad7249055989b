//! Files as the plan wrote them.

use super::{Ctx, Judged};
use crate::facts::{Evidence, Snapshot};
use crate::host::{Fact, Why};
use crate::steps::sha256;

/// A file has this content, or is not there.
pub(super) fn file(ctx: &Ctx<'_>, path: &str, wanted: Option<&str>) -> Judged {
    let about = if wanted.is_some() { "about-file" } else { "about-no-file" };
    let judged = match (hash(ctx.snap, path), wanted) {
        (Fact::Known(hash), Some(wanted)) if hash == wanted => Judged::holds(about),
        (Fact::Absent, None) => Judged::holds(about),
        (Fact::Known(_), Some(_)) => Judged::fails(about, "file-changed").evidence([Evidence::new(path, "changed")]),
        (Fact::Known(_), None) => Judged::fails(about, "file-there").evidence([Evidence::new(path, "present")]),
        (Fact::Absent, Some(_)) => Judged::fails(about, "file-gone").evidence([Evidence::new(path, "not there")]),
        (Fact::Unknown(why), _) => Judged::unknown(about, path, &why),
    };
    judged.value("path", path)
}

/// SHA-256 of a file, if the snapshot knows it.
fn hash(snap: &Snapshot, path: &str) -> Fact<String> {
    if let Some(hash) = snap.own.roms.get(path) {
        return hash.clone();
    }
    text(snap, path).map(|text| sha256(text.as_bytes()))
}

/// The text of a file, if the snapshot holds it.
fn text<'a>(snap: &'a Snapshot, path: &str) -> Fact<&'a str> {
    if let Some(file) = snap.own.files.get(path) {
        return file.as_ref().map(|file| file.text.as_str());
    }
    let sources = snap.boot.places.iter().map(|place| place.file.as_ref());
    let mut all = sources.chain(&snap.modules.files).chain(&snap.initramfs.config);
    let unread = [&snap.modules.unread, &snap.boot.unread, &snap.initramfs.unread];
    let missing = || unread.into_iter().flatten().find(|(name, _)| name == path).map(|(_, why)| why.clone());
    match all.find(|file| file.path == path) {
        Some(file) => Fact::Known(&file.text),
        None => Fact::Unknown(missing().unwrap_or(Why::NotRead)),
    }
}
