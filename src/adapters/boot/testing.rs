//! Hosts of a few files, for tests: what an adapter makes of them, and what they are afterwards.

use super::{WordChange, work};
use crate::adapters::Work;
use crate::facts::{Needs, Snapshot, collect};
use crate::host::Recorded;
use crate::parse::{efi, pe};
use crate::steps::Action;
use std::collections::BTreeMap;

/// A host's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub(super) fn new(files: &[(&str, &str)]) -> Files {
        Files(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// With one file more, or another text for it.
    pub(super) fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Files {
        self.0.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    /// With an EFI variable of the loader.
    pub(super) fn loader(self, name: &str, text: &str) -> Files {
        let value = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let value: Vec<u8> = [6, 0, 0, 0].into_iter().chain(value).collect();
        self.with(&format!("/sys/firmware/efi/efivars/{name}-{}", efi::LOADER), value)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut builder = Recorded::builder();
        for (path, content) in &self.0 {
            builder.add_file(path, content);
            if path.ends_with(".efi") && content.starts_with(b"MZ") {
                let uki = pe::read_uki(&mut content.as_slice()).unwrap();
                builder.digest(path, "uki-1", serde_json::to_vec(&uki).unwrap());
            }
        }
        collect(&builder.build(), Needs { images: false, ..Needs::PLAN })
    }

    /// What the host's boot chain needs done.
    pub(super) fn work(&self, change: &WordChange) -> Work {
        work(&self.snapshot(), change)
    }

    /// The host after the file steps of some work, its commands left out; each step's hash is of what was there.
    pub(super) fn after(&self, work: &Work) -> Files {
        let mut files = self.clone();
        for step in work.files.iter().chain(&work.commands) {
            let hash = |path: &str| self.0.get(path).map(|bytes| crate::steps::sha256(bytes));
            match &step.action {
                Action::WriteFile { path, before_sha256, after, .. } => {
                    assert_eq!(*before_sha256, hash(path), "{path}");
                    files.0.insert(path.clone(), after.as_bytes().to_vec());
                }
                Action::RemoveFile { path, before_sha256, .. } => {
                    assert_eq!(Some(before_sha256.clone()), hash(path), "{path}");
                    files.0.remove(path);
                }
                Action::Generate { .. }
                | Action::Run { .. }
                | Action::Bind { .. }
                | Action::VirtualFunctions { .. } => {}
            }
        }
        files
    }
}

/// A change that adds and removes words, given with spaces between them.
pub(super) fn words(add: &str, remove: &str) -> WordChange {
    let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    WordChange { add: list(add), remove: list(remove), ..WordChange::default() }
}
