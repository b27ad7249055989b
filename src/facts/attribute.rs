//! Attributes of one sysfs directory, each read at most once and understood or said to be malformed.

use crate::host::{Fact, Host, Why};

/// A directory of attributes.
pub(super) struct Attributes<'a> {
    host: &'a dyn Host,
    dir: String,
    /// The names in it, if they were listed: what is not among them is absent without another look.
    names: Option<Vec<String>>,
}

impl<'a> Attributes<'a> {
    /// Attributes below `dir`, without a slash at its end.
    pub(super) fn new(host: &'a dyn Host, dir: String) -> Self {
        Attributes { host, dir, names: None }
    }

    /// Lists the directory first: cheaper where most of many attributes are missing.
    pub(super) fn listed(host: &'a dyn Host, dir: String) -> Self {
        let names = host.entries(&dir).into_known();
        Attributes { host, dir, names }
    }

    /// The names in it; none if it was not listed.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }

    /// True if the names are known.
    pub(super) fn is_listed(&self) -> bool {
        self.names.is_some()
    }

    /// The path of an attribute.
    pub(super) fn path(&self, name: &str) -> String {
        let mut path = String::with_capacity(self.dir.len() + 1 + name.len());
        path.push_str(&self.dir);
        path.push('/');
        path.push_str(name);
        path
    }

    /// False only if the directory was listed and the attribute was not in it.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.binary_search_by(|n| n.as_str().cmp(name)).is_ok())
    }

    fn ask<T>(&self, name: &str, ask: impl FnOnce(&str) -> Fact<T>) -> Fact<T> {
        if self.may_have(name) { ask(&self.path(name)) } else { Fact::Absent }
    }

    /// An attribute's text without white space around it.
    pub(super) fn value(&self, name: &str) -> Fact<String> {
        self.ask(name, |path| self.host.value(path))
    }

    /// An attribute's value as `parse` understands it.
    pub(super) fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
        understood(self.value(name), parse)
    }

    /// The content of a binary attribute, or its first `most` bytes.
    pub(super) fn bytes(&self, name: &str, most: Option<usize>) -> Fact<Vec<u8>> {
        self.ask(name, |path| match most {
            Some(most) => self.host.read_start(path, most),
            None => self.host.read(path),
        })
    }

    /// The target of a link.
    pub(super) fn link(&self, name: &str) -> Fact<String> {
        self.ask(name, |path| self.host.link(path))
    }

    /// True, false or unknown: is there such an attribute?
    pub(super) fn exists(&self, name: &str) -> Fact<bool> {
        if !self.may_have(name) {
            return Fact::Known(false);
        }
        if self.names.is_some() { Fact::Known(true) } else { self.host.exists(&self.path(name)) }
    }
}

/// Applies a parser; what it does not understand is unknown, with (the start of) what was found.
pub(super) fn understood<T>(text: Fact<String>, parse: impl FnOnce(&str) -> Option<T>) -> Fact<T> {
    text.and_then(|text| match parse(&text) {
        Some(value) => Fact::Known(value),
        None => Fact::Unknown(Why::Malformed(text.chars().take(80).collect())),
    })
}
