//! Is a generated file what it must be? It takes the place of the old one only then.

use super::execute::{Did, Failure};
use crate::adapters::initramfs::{Fault, faults};
use crate::facts::boot::{is_normal, read_unified};
use crate::facts::initramfs::read_image;
use crate::facts::{Needs, kernel};
use crate::host::{Fact, Host, Kind};
use crate::parse::cmdline::Cmdline;
use crate::parse::grub_cfg;
use crate::steps::Product;

/// Looks into a new file. `words` and content are asked for only if `strict`: when a file is generated as it was before vfioneer came,
/// it is enough that it is whole.
pub(super) fn check(host: &dyn Host, path: &str, product: &Product, strict: bool) -> Did {
    match product {
        Product::Image { release, modules, files } => image(host, path, release, modules, files, strict),
        Product::Unified { release, modules, files, words } => {
            image(host, path, release, modules, files, strict)?;
            let uki = match read_unified(host, path) {
                Fact::Known(uki) => uki,
                Fact::Absent => return Err(Failure::new("no kernel image was made")),
                Fact::Unknown(why) => return Err(Failure::new(format!("the new kernel image cannot be read: {why}"))),
            };
            let line = uki.cmdline.unwrap_or_default();
            has_words(&line, if strict { words } else { &[] }, "the new kernel image")
        }
        Product::GrubConfig { words } => grub_config(host, path, if strict { words } else { &[] }),
    }
}

fn image(
    host: &dyn Host,
    path: &str,
    release: &str,
    modules: &[String],
    files: &[(String, String)],
    strict: bool,
) -> Did {
    let content = match read_image(host, path) {
        Fact::Known(content) => content,
        Fact::Absent => return Err(Failure::new("no image was made")),
        Fact::Unknown(why) => return Err(Failure::new(format!("the new image cannot be read: {why}"))),
    };
    if !strict {
        return Ok(());
    }
    let kernels = kernel::collect(host, Needs { kernel: true, ..Needs::LIST });
    let kernel = kernels.installed.iter().find(|kernel| kernel.release == release);
    match faults(&content, kernel, modules, files).first() {
        None => Ok(()),
        Some(Fault::Module(module)) => Err(Failure::new(format!("the new image lacks the module {module}"))),
        Some(Fault::Missing(file)) => Err(Failure::new(format!("the new image lacks {file}"))),
        Some(Fault::Differs(file)) => Err(Failure::new(format!("the new image has another {file}"))),
        Some(Fault::Late) => Err(Failure::new("the new image does not claim devices before udev starts")),
    }
}

fn grub_config(host: &dyn Host, path: &str, words: &[String]) -> Did {
    let text = match host.text(path) {
        Fact::Known(text) => text,
        Fact::Absent => return Err(Failure::new("no grub.cfg was made")),
        Fact::Unknown(why) => return Err(Failure::new(format!("the new grub.cfg cannot be read: {why}"))),
    };
    let config = grub_cfg::parse(&text);
    if config.entries.is_empty() && !config.blscfg {
        return Err(Failure::new("the new grub.cfg has no entry that boots Linux"));
    }
    // Entries of other systems on the same disks have another root. A mounted host's own entries come first.
    let running = host.text("/proc/cmdline").into_known().filter(|_| host.kind() == Kind::Live);
    let normal = |root: Option<&str>| -> Vec<&grub_cfg::Entry> {
        let generated = config.entries.iter().filter(|entry| !entry.by_hand);
        generated.filter(|entry| is_normal(entry.words.iter().map(String::as_str), root)).collect()
    };
    let root_of = |line: &str| Cmdline::parse(line).value("root").map(str::to_owned);
    let mut entries = running.and_then(|line| root_of(&line)).map(|root| normal(Some(&root))).unwrap_or_default();
    if entries.is_empty() {
        let first = config.entries.first().and_then(|entry| root_of(&entry.words.join(" ")));
        entries = normal(first.as_deref());
    }
    for entry in entries {
        let title = format!("the entry {:?} of the new grub.cfg", entry.titles.join(" > "));
        has_words(&entry.words.join(" "), words, &title)?;
    }
    Ok(())
}

fn has_words(line: &str, words: &[String], what: &str) -> Did {
    let line = Cmdline::parse(line);
    match words.iter().find(|word| !line.has_word(word)) {
        Some(word) => Err(Failure::new(format!("{what} lacks the word {word}"))),
        None => Ok(()),
    }
}
