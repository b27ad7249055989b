//! Known, absent, or unknown with its reason: unreadable is never "no".

use serde::{Deserialize, Serialize};

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The file is there, but this user may not read it.
    NotPermitted,
    /// The recording, paste or mounted tree does not hold it.
    NotRecorded,
    /// The command that ran did not need it, so it was not read.
    NotRead,
    /// Larger than what is read into memory.
    TooLarge,
    /// Read, but not understood; says what was found.
    Malformed(String),
    /// Any other failure of the operating system.
    Io(String),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::NotPermitted => f.write_str("not readable without root"),
            Why::NotRecorded => f.write_str("not recorded"),
            Why::NotRead => f.write_str("not read"),
            Why::TooLarge => f.write_str("too large"),
            Why::Malformed(what) => write!(f, "malformed: {what}"),
            Why::Io(what) => f.write_str(what),
        }
    }
}

/// A fact about a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Fact<T> {
    /// It is so.
    Known(T),
    /// It is certain that there is none.
    Absent,
    /// It could not be found out.
    Unknown(Why),
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Fact::Unknown(Why::NotRead)
    }
}

impl<T> Fact<T> {
    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            _ => None,
        }
    }

    /// The value by value, if known.
    pub fn into_known(self) -> Option<T> {
        match self {
            Fact::Known(value) => Some(value),
            _ => None,
        }
    }

    /// True if it is certain that there is none.
    pub fn is_absent(&self) -> bool {
        matches!(self, Fact::Absent)
    }

    /// True if it could not be found out.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Fact::Unknown(_))
    }

    /// The reason, if unknown.
    pub fn why(&self) -> Option<&Why> {
        match self {
            Fact::Unknown(why) => Some(why),
            _ => None,
        }
    }

    /// Applies `f` to a known value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Fact::Known(value) => Fact::Known(f(value)),
            Fact::Absent => Fact::Absent,
            Fact::Unknown(why) => Fact::Unknown(why),
        }
    }

    /// Applies `f`, which can itself fail to know, to a known value.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Fact::Known(value) => f(value),
            Fact::Absent => Fact::Absent,
            Fact::Unknown(why) => Fact::Unknown(why),
        }
    }

    /// Borrows the value.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Fact::Known(value) => Fact::Known(value),
            Fact::Absent => Fact::Absent,
            Fact::Unknown(why) => Fact::Unknown(why.clone()),
        }
    }

    /// Replaces "absent" by a value: for files whose absence means a default.
    #[must_use]
    pub fn absent_as(self, value: T) -> Self {
        match self {
            Fact::Absent => Fact::Known(value),
            other => other,
        }
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Fact<T> {
    /// A failed parse is "unknown: malformed".
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Fact::Known(value),
            Err(error) => Fact::Unknown(Why::Malformed(error.to_string())),
        }
    }
}
