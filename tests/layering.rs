//! Modules depend downwards only, and only `host` touches the operating system (ARCHITECTURE.md).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

/// From the bottom up; a module may use itself, what stands before it, and `error`.
const LAYERS: &[&str] = &[
    "error", "host", "parse", "facts", "goal", "checks", "steps", "adapters", "plan", "verify", "apply", "live",
    "report", "capture", "cli",
];

/// `parse` is pure and must not even see the host.
const FORBIDDEN: &[(&str, &str)] = &[("parse", "host")];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module at the top of `src` that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn layer(path: &Path) -> Option<String> {
    let relative = path.strip_prefix(root()).unwrap();
    let first = relative.components().next()?.as_os_str().to_string_lossy().into_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// The part of a source that is compiled into the program: all before the unit tests.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn every_module_has_a_layer() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for path in &files {
        if let Some(name) = layer(path) {
            assert!(LAYERS.contains(&name.as_str()), "{} belongs to no layer: add it to LAYERS", path.display());
        }
    }
}

#[test]
fn modules_depend_downwards_only() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut faults = Vec::new();
    for path in &files {
        let Some(name) = layer(path) else { continue };
        let height = LAYERS.iter().position(|layer| *layer == name).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for above in LAYERS.iter().skip(height + 1).chain(forbidden(&name)) {
            if program(&text).contains(&format!("crate::{above}")) {
                faults.push(format!("{} uses {above}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn forbidden(name: &str) -> impl Iterator<Item = &'static &'static str> {
    FORBIDDEN.iter().filter(move |(module, _)| *module == name).map(|(_, other)| other)
}

#[test]
fn only_the_host_touches_the_operating_system() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut faults = Vec::new();
    // Tests in files of their own look at what was written.
    files.retain(|path| !path.ends_with("tests.rs"));
    for path in files.iter().filter(|path| layer(path).is_some_and(|name| name != "host")) {
        let text = std::fs::read_to_string(path).unwrap();
        for word in ["std::fs::", "std::process::Command", "std::env::", "rustix::", "unsafe {"] {
            if program(&text).contains(word) {
                faults.push(format!("{} has {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_file_is_too_long_to_read_in_one_go() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for path in files {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// Knowledge about one distribution is a row in `data/` or an adapter, not an `if`.
#[test]
fn no_distribution_is_compared_by_name() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["distro.id ==", "distro.id.as_str() ==", "\"ubuntu\" =>", "\"debian\" =>"] {
            assert!(!program(&text).contains(word), "{} has {word}", path.display());
        }
    }
}
