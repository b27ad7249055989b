//! Who runs the program, when, and how it was typed.

use rustix::process::geteuid;

/// What the journal says about a run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Who became that user by sudo, doas or pkexec: a name, or a number for pkexec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Date and time in UTC, `YYYY-MM-DDThh:mm:ssZ`.
    pub when: String,
    /// The command line.
    pub argv: Vec<String>,
}

impl Caller {
    /// Of this process, now.
    pub fn new() -> Caller {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Caller {
            uid: geteuid().as_raw(),
            // sudo(8), doas(1), pkexec(1).
            user: ["SUDO_USER", "DOAS_USER", "PKEXEC_UID"].iter().find_map(|name| set(name)),
            when: super::output::now(),
            argv: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// May it change a running host?
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

impl Default for Caller {
    fn default() -> Self {
        Caller::new()
    }
}
