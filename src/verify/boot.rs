//! Command line, boot entries, images: what booted, and what boots next.

use super::{Ctx, Judged};
use crate::adapters::initramfs::{Fault, faults};
use crate::facts::boot::{Entry, Place, normal_entries};
use crate::facts::initramfs::{Content, Image};
use crate::facts::{Evidence, Snapshot};
use crate::goal::Method;
use crate::host::{Fact, Why};
use crate::parse::cmdline::Cmdline;

/// Evidence of one outcome.
const SHOWN: usize = 4;

/// The running kernel's command line has a word, or has it not.
pub(super) fn command_line(ctx: &Ctx<'_>, word: &str, present: bool) -> Judged {
    let about = if present { "about-word" } else { "about-no-word" };
    let line = match &ctx.snap.kernel.cmdline {
        Fact::Known(line) => line,
        Fact::Absent if !present => return Judged::holds(about).value("word", word),
        Fact::Absent => {
            let why = Why::Io("it is not there".to_owned());
            return Judged::unknown(about, "/proc/cmdline", &why).value("word", word);
        }
        Fact::Unknown(why) => return Judged::unknown(about, "/proc/cmdline", why).value("word", word),
    };
    let shown = Evidence::at(line.path.clone(), 1, line.text.trim());
    if Cmdline::parse(&line.text).has_word(word) == present {
        return Judged::holds(about).value("word", word).evidence([shown]);
    }
    let (reason, evidence) = why_not_booted(ctx, word, present);
    Judged::fails(about, reason).value("word", word).evidence([shown]).evidence(evidence)
}

/// Why the running kernel was given other words.
fn why_not_booted(ctx: &Ctx<'_>, word: &str, present: bool) -> (&'static str, Vec<Evidence>) {
    if let Some(same) = ctx.same_boot() {
        return ("not-rebooted", vec![same]);
    }
    if let Some(line) = ctx.switched_off() {
        return ("switched-off", vec![line]);
    }
    let boot = &ctx.snap.boot;
    let right = |entry: &Entry<'_>| entry.has(word) == present;
    let entries = normal_entries(boot);
    let (good, bad): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| right(entry));
    if entries.is_empty() {
        return ("booted-unclear", Vec::new());
    }
    if good.is_empty() {
        return ("in-no-entry", bad.iter().take(SHOWN).filter_map(|entry| shown(entry)).collect());
    }
    let wrong: Vec<Evidence> = booted(ctx.snap, word, present).take(SHOWN).map(line_of).collect();
    let reason = if wrong.is_empty() { "other-entry-booted" } else { "wrong-entry-booted" };
    (reason, wrong.into_iter().chain(good.first().and_then(|entry| shown(entry))).collect())
}

/// The entries that may have booted, of those that are not as they should be: the running kernel has all their words.
fn booted<'a>(snap: &'a Snapshot, word: &'a str, present: bool) -> impl Iterator<Item = &'a Place> {
    let line = Cmdline::parse(snap.kernel.cmdline.known().map_or("", |file| file.text.as_str()));
    snap.boot.places.iter().filter(move |place| {
        let fits = place.words.iter().all(|word| word.contains('$') || line.has_word(word));
        place.generated && place.effective && fits && Cmdline::parse(&place.words.join(" ")).has_word(word) != present
    })
}

/// The entries of all kernels have a word, or have it not.
pub(super) fn entries(ctx: &Ctx<'_>, word: &str, present: bool) -> Judged {
    let about = if present { "about-entries" } else { "about-no-entries" };
    let boot = &ctx.snap.boot;
    let entries = normal_entries(boot);
    let judged = match (entries.is_empty(), boot.unread.first()) {
        (true, Some((path, why))) => Judged::unknown(about, path, why),
        (true, None) => Judged::new(about, super::State::Unknown, "no-entries"),
        (false, _) => {
            let wrong: Vec<&Entry<'_>> = entries.iter().filter(|entry| entry.has(word) != present).collect();
            if wrong.is_empty() {
                Judged::holds(about)
            } else {
                let reason = if wrong.len() == entries.len() { "in-all-entries" } else { "in-some-entries" };
                Judged::fails(about, if present { "entries-lack" } else { reason })
                    .value("titles", titles(&wrong))
                    .evidence(wrong.iter().take(SHOWN).filter_map(|entry| shown(entry)))
            }
        }
    };
    judged.value("word", word)
}

fn titles(entries: &[&Entry<'_>]) -> String {
    let name = |entry: &&Entry<'_>| {
        let place = entry.places.first()?;
        place.title.clone().or_else(|| place.release.clone()).or_else(|| Some(place.file.path.clone()))
    };
    crate::checks::device::list(entries.iter().filter_map(name).map(|title| format!("\"{title}\"")))
}

fn shown(entry: &Entry<'_>) -> Option<Evidence> {
    entry.places.first().map(|place| line_of(place))
}

fn line_of(place: &Place) -> Evidence {
    crate::checks::words::place_evidence(place)
}

/// What boots without a choice is an entry that is meant to be booted every day.
pub(super) fn default_entry(ctx: &Ctx<'_>) -> Option<Judged> {
    let boot = &ctx.snap.boot;
    let saved = boot.saved_entry.as_ref()?;
    let value = saved.text.strip_prefix("saved_entry=")?;
    let is_saved = |place: &&Place| {
        let file = place.file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".conf"));
        place.generated && place.effective && (place.title.as_deref() == Some(value) || file == Some(value))
    };
    let chosen = boot.places.iter().find(is_saved)?;
    let normal = normal_entries(boot).iter().any(|entry| entry.places.iter().any(|place| std::ptr::eq(*place, chosen)));
    let about = "about-default";
    let judged = if normal { Judged::holds(about) } else { Judged::fails(about, "default-apart") };
    Some(judged.value("title", value).evidence([saved.clone(), line_of(chosen)]))
}

/// The faults of one image.
pub(super) fn faults_of<'a>(
    snap: &Snapshot,
    image: &Image,
    content: &Content,
    modules: &'a [String],
    files: &'a [(String, String)],
) -> Vec<Fault<'a>> {
    let kernel = snap.kernel.installed.iter().find(|kernel| kernel.release == image.release);
    faults(content, kernel, modules, files)
}

/// The image of every kernel that can boot claims what was chosen.
pub(super) fn images(ctx: &Ctx<'_>, method: Method, modules: &[String], files: &[(String, String)]) -> Judged {
    let about = if method == Method::Identity { "about-images" } else { "about-images-ids" };
    let snap = ctx.snap;
    let images = &snap.initramfs.images;
    let kernel = |release: &str| Evidence::new(format!("/lib/modules/{release}"), "no image of it was found");
    if let Some(release) = without_image(snap) {
        return Judged::fails(about, "image-missing").value("release", release).evidence([kernel(release)]);
    }
    let mut bad = Vec::new();
    let mut evidence = Vec::new();
    let mut reason = "";
    for image in images {
        let content = match &image.content {
            Fact::Known(content) => content,
            Fact::Absent => continue,
            Fact::Unknown(why) => return Judged::unknown(about, &image.path, why),
        };
        let faults = faults_of(snap, image, content, modules, files);
        if let Some(first) = faults.first() {
            bad.push(image.path.clone());
            // The first image's first fault names the reason; the evidence shows all.
            if reason.is_empty() {
                reason = reason_of(first);
            }
        }
        evidence.extend(faults.iter().map(|fault| fault_line(image, fault)));
    }
    if images.is_empty() {
        return match snap.initramfs.unread.first() {
            Some((path, why)) => Judged::unknown(about, path, why),
            None => Judged::new(about, super::State::Unknown, "no-images"),
        };
    }
    if bad.is_empty() {
        return Judged::holds(about);
    }
    evidence.truncate(SHOWN);
    Judged::fails(about, reason)
        .value("images", crate::checks::device::list(&bad))
        .value("rebuild", crate::checks::words::rebuild(snap))
        .evidence(evidence)
}

/// A kernel with an entry that boots it, and no image at all.
fn without_image(snap: &Snapshot) -> Option<&str> {
    let entries = normal_entries(&snap.boot);
    let mut releases = entries.iter().filter_map(Entry::release);
    let installed = |release: &&str| snap.kernel.installed.iter().any(|kernel| kernel.release == **release);
    let readable = snap.initramfs.unread.is_empty() && !snap.initramfs.images.is_empty();
    releases.find(|release| readable && installed(release) && snap.initramfs.of(release).next().is_none())
}

fn reason_of(fault: &Fault<'_>) -> &'static str {
    match fault {
        Fault::Missing(_) => "image-without-claim",
        Fault::Differs(_) => "image-stale",
        Fault::Module(_) => "image-without-module",
        Fault::Late => "image-late",
    }
}

pub(super) fn fault_line(image: &Image, fault: &Fault<'_>) -> Evidence {
    let text = match fault {
        Fault::Missing(path) => format!("no {path}"),
        Fault::Differs(path) => format!("another {path}"),
        Fault::Module(module) => format!("no module {module}"),
        Fault::Late => "nothing runs the claim before udev".to_owned(),
    };
    Evidence::new(image.path.clone(), text)
}
