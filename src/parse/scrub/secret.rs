//! Finds and removes passwords, keys and tokens.

use super::rules;
use regex::bytes::Regex;
use std::borrow::Cow;

/// Stands where a secret stood.
pub(super) const REMOVED: &str = "REMOVED";

/// The patterns of `data/capture.toml`; each one's groups are what is removed.
pub(super) struct Secrets {
    patterns: Vec<Regex>,
}

impl Secrets {
    pub(super) fn new() -> Secrets {
        Secrets { patterns: rules::secrets().iter().filter_map(|pattern| Regex::new(pattern).ok()).collect() }
    }

    /// The text without secrets, and how many were removed. Line ends stay, so that line numbers do.
    pub(super) fn remove<'a>(&self, text: &'a str) -> (Cow<'a, str>, usize) {
        let mut text = Cow::Borrowed(text);
        let mut removed = 0;
        for pattern in &self.patterns {
            let mut out = Vec::new();
            let mut done = 0;
            for captures in pattern.captures_iter(text.as_bytes()) {
                for group in captures.iter().skip(1).flatten() {
                    if group.is_empty() || group.as_bytes() == REMOVED.as_bytes() || group.start() < done {
                        continue;
                    }
                    out.extend(text.as_bytes().get(done..group.start()).unwrap_or_default());
                    out.extend(REMOVED.as_bytes());
                    out.extend(group.as_bytes().iter().filter(|byte| **byte == b'\n'));
                    done = group.end();
                    removed += 1;
                }
            }
            if done > 0 {
                out.extend(text.as_bytes().get(done..).unwrap_or_default());
                text = Cow::Owned(String::from_utf8_lossy(&out).into_owned());
            }
        }
        (text, removed)
    }
}
