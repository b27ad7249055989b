//! What is refused unless the user names it in `--allow`.

use serde::Serialize;

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The guard's name, as `--allow` takes it.
    pub guard: &'static str,
    /// What it is about: a function, a group, the host.
    pub subject: String,
    /// Why, in one or two sentences.
    pub reason: String,
    /// False where naming it changes nothing: there is no safe way.
    pub allowable: bool,
}
