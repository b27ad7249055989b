//! Takes what identifies a host, and every secret, out of its files.
//!
//! Goes in: a path and bytes, and a random salt. Comes out: bytes of the same shape in which serial numbers, MAC and
//! IP addresses, UUIDs, host and user names are pseudonyms: equal stays equal, and without the salt, which is
//! thrown away, nothing can be computed back. Secrets are removed, never replaced by something that depends on them.
//! What may be taken of which file stands in `data/capture.toml`.

mod detect;
mod formats;
mod pseudonym;
pub mod rules;
mod secret;

use detect::Detector;
use std::collections::{BTreeMap, BTreeSet};

/// What was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Serial numbers of devices, disks and volumes.
    Serial,
    /// Hardware addresses of network interfaces.
    Mac,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// UUIDs of file systems, partitions, VMs and machines, and their short forms.
    Uuid,
    /// Names of hosts.
    Host,
    /// Names of users.
    User,
}

/// Replaces consistently through all files of one capture.
pub struct Scrubber {
    salt: [u8; 32],
    /// Keep names and numbers; remove secrets only.
    exact: bool,
    /// UUIDs that name a format or vendor, not a thing; lower case.
    known: BTreeSet<String>,
    /// What was found where its meaning is clear, and is replaced everywhere.
    learned: BTreeMap<String, Kind>,
    detector: Detector,
    secrets: secret::Secrets,
    /// Originals by kind, to count each once.
    replaced: BTreeMap<Kind, BTreeSet<String>>,
    removed: usize,
}

impl Scrubber {
    /// A scrubber for one capture. `salt` must be random and used once.
    pub fn new(salt: [u8; 32], exact: bool) -> Scrubber {
        let known = rules::well_known().into_iter().collect();
        let learned = BTreeMap::new();
        let detector = Detector::new(&learned);
        let secrets = secret::Secrets::new();
        Scrubber { salt, exact, known, learned, detector, secrets, replaced: BTreeMap::new(), removed: 0 }
    }

    /// Says that this is a name or number of that kind, wherever it stands by itself. Takes effect with
    /// [`Scrubber::ready`].
    pub fn learn(&mut self, kind: Kind, original: &str) {
        let original = original.trim();
        let telling =
            original.len() >= 4 && !original.bytes().all(|b| matches!(b, b'0' | b'f' | b'F' | b'-' | b':' | b' '));
        let least = if kind == Kind::Serial { 5 } else { 4 };
        if telling && original.len() >= least && !pseudonym::is_well_known(original) {
            self.learned.entry(original.to_owned()).or_insert(kind);
        }
    }

    /// Learns what a text says by context: `UUID=...`, names below `/dev/disk/by-id`.
    pub fn learn_text(&mut self, text: &str) {
        for (kind, value) in detect::by_context(text) {
            if !self.known.contains(&value.to_ascii_lowercase()) {
                self.learn(kind, &value);
            }
        }
    }

    /// Keeps this UUID as it is: it names a namespace.
    pub fn keep(&mut self, uuid: &str) {
        self.known.insert(uuid.to_ascii_lowercase());
    }

    /// Makes what was learned effective.
    pub fn ready(&mut self) {
        self.detector = Detector::new(&self.learned);
    }

    /// How many different names and numbers of each kind were replaced.
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        self.replaced.iter().map(|(kind, originals)| (*kind, originals.len())).collect()
    }

    /// How many secrets were removed.
    pub fn secrets_removed(&self) -> usize {
        self.removed
    }

    /// A path, name or link target.
    pub fn name(&mut self, name: &str) -> String {
        if self.exact { name.to_owned() } else { self.replace(name) }
    }

    /// Any text: secrets removed, names and numbers replaced.
    pub fn text(&mut self, text: &str) -> String {
        let (text, removed) = self.secrets.remove(text);
        self.removed += removed;
        if self.exact { text.into_owned() } else { self.replace(&text) }
    }

    /// The pseudonym of a value of that kind, of the same shape.
    pub fn pseudonym(&mut self, kind: Kind, original: &str) -> String {
        if self.exact || pseudonym::is_well_known(original) || self.known.contains(&original.to_ascii_lowercase()) {
            return original.to_owned();
        }
        let new = pseudonym::of(&self.salt, kind, original);
        if new != original {
            let mut same = original.to_ascii_lowercase();
            if matches!(kind, Kind::Mac | Kind::Uuid) {
                same.retain(|c| !matches!(c, '-' | ':'));
            }
            self.replaced.entry(kind).or_default().insert(same);
        }
        new
    }

    fn replace(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let found = self.detector.find(text, &self.learned);
        for (range, kind) in found {
            let (Some(before), Some(original)) = (text.get(done..range.start), text.get(range.clone())) else {
                continue;
            };
            out.push_str(before);
            out.push_str(&self.pseudonym(kind, original));
            done = range.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests;
