//! The closed set of steps that change a host, and what must be true after them.
//!
//! Goes in: nothing. Comes out: the types that adapters make, `plan` orders, `apply` executes and undoes, and `verify` compares.
//! All of it is plain data that can be written to a plan file or a journal and read back.

mod content;
pub mod reasons;

pub use crate::parse::bytes::sha256;
pub use content::Content;

use crate::goal::Method;
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};

/// One step, with its reason for a person. In JSON the action's fields and `why` stand beside each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Why, in one or two sentences ([`reasons::reason`]).
    pub why: String,
}

/// What a step does. Each has an inverse: the bytes that were there, the undo command, or generating again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Writes a file whole.
    WriteFile {
        /// Absolute path within the host.
        path: String,
        /// SHA-256 of what was there, hex; null if the file was not there.
        before_sha256: Option<String>,
        /// What was there, for the diff. Not in the plan file; the hash is.
        #[serde(skip)]
        before: Option<String>,
        /// The new content.
        after: Content,
        /// Permission bits of a file that was not there before; an existing one keeps its own.
        mode: u32,
    },
    /// Removes a file.
    RemoveFile {
        /// Absolute path within the host.
        path: String,
        /// SHA-256 of what was there, hex.
        before_sha256: String,
        /// What was there, for the diff.
        #[serde(skip)]
        before: String,
    },
    /// Has a tool write a new file under a temporary name, looks into it, and renames it into place.
    Generate {
        /// The command; `{out}` in an argument is the temporary path, in the output's directory.
        argv: Vec<String>,
        /// The file that is replaced.
        output: String,
        /// What the new file must be.
        product: Product,
    },
    /// Runs a tool that changes files by itself.
    Run {
        /// The command.
        argv: Vec<String>,
        /// The inverse command; for one that copies from files that were undone before, the same again.
        undo: Vec<String>,
        /// Files and directories that it changes: kept before, compared after.
        touches: Vec<String>,
        /// Where the tool rewrites what boots in place: what boots meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<Fence>,
    },
    /// Hands a function to another driver now.
    Bind {
        /// Which function.
        address: Address,
        /// The driver that gets it.
        driver: String,
        /// The driver that has it; null if none.
        former: Option<String>,
    },
    /// Has a physical function of SR-IOV make virtual ones now, each for vfio-pci.
    VirtualFunctions {
        /// Which function.
        address: Address,
        /// How many it has; each is on vfio-pci.
        former: u16,
        /// How many it gets.
        count: u16,
    },
}

/// What a generated file must be before it takes the place of the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Product {
    /// An initramfs.
    Image {
        /// The kernel it is for.
        release: String,
        /// Modules that must be in it, names with `_`.
        modules: Vec<String>,
        /// Texts that must be in it: path in the image without a slash in front, SHA-256 of the text.
        files: Vec<(String, String)>,
    },
    /// A unified kernel image.
    Unified {
        /// The kernel it is for.
        release: String,
        /// As of an image.
        modules: Vec<String>,
        /// As of an image.
        files: Vec<(String, String)>,
        /// Words that its command line must have.
        words: Vec<String>,
    },
    /// A grub.cfg.
    GrubConfig {
        /// Words that every normal entry must have.
        words: Vec<String>,
    },
}

/// What boots while a tool rewrites the boot files in place: an entry with copies of its own, made the default first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Files to copy first: from, to.
    pub copies: Vec<(String, String)>,
    /// Files to write then, in this order; the last one makes the entry the default. Path and content.
    pub writes: Vec<(String, String)>,
}

/// One thing that must be true after the steps, and the reboot if there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Expectation {
    /// An IOMMU runs.
    IommuOn,
    /// The running kernel's command line has the word, or has it not.
    CommandLine {
        /// The whole word, `intel_iommu=on`.
        word: String,
        /// Must it be there?
        present: bool,
    },
    /// The entry of every kernel that can boot has the word, or has it not.
    Entries {
        /// The whole word.
        word: String,
        /// Must it be there?
        present: bool,
    },
    /// A function is on a vfio driver.
    Driver {
        /// Where it was when the plan was made.
        address: Address,
        /// Vendor and device id, `10de:2684`.
        id: String,
        /// The driver.
        driver: String,
    },
    /// All of the function's IOMMU group can go to a VM.
    GroupViable {
        /// The function.
        address: Address,
    },
    /// A physical function has this many virtual ones, each on vfio-pci, and no driver takes another by itself.
    VirtualFunctions {
        /// Where it was when the plan was made.
        address: Address,
        /// Vendor and device id, `8086:1592`.
        id: String,
        /// How many.
        count: u16,
    },
    /// No function but these is on a vfio driver.
    NothingElseTaken {
        /// Those that are, or were before.
        addresses: Vec<Address>,
    },
    /// The image of every kernel that can boot claims the functions.
    Images {
        /// How.
        method: Method,
        /// Modules that must be in each.
        modules: Vec<String>,
        /// Texts that must be in each: path in the image, SHA-256.
        files: Vec<(String, String)>,
    },
    /// A file is as the plan wrote it.
    File {
        /// Absolute path.
        path: String,
        /// SHA-256 of its content; null if it must not be there.
        sha256: Option<String>,
    },
}

impl Expectation {
    /// True if a later transaction's takes this one's place: it is about the same word, function or file, or about all of them.
    pub fn yields_to(&self, later: &Expectation) -> bool {
        use Expectation::{
            CommandLine, Driver, Entries, File, GroupViable, Images, IommuOn, NothingElseTaken, VirtualFunctions,
        };
        match (self, later) {
            (CommandLine { word: a, .. }, CommandLine { word: b, .. })
            | (Entries { word: a, .. }, Entries { word: b, .. })
            | (File { path: a, .. }, File { path: b, .. }) => a == b,
            (Driver { address: a, .. }, Driver { address: b, .. })
            | (VirtualFunctions { address: a, .. }, VirtualFunctions { address: b, .. })
            | (GroupViable { address: a }, GroupViable { address: b }) => a == b,
            (IommuOn, IommuOn)
            | (NothingElseTaken { .. }, NothingElseTaken { .. })
            | (Images { .. }, Images { .. }) => true,
            _ => false,
        }
    }
}

impl Step {
    /// The file that it writes or removes.
    pub fn path(&self) -> Option<&str> {
        match &self.action {
            Action::WriteFile { path, .. } | Action::RemoveFile { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The text that it gives a file.
    pub fn text(&self) -> Option<&str> {
        match &self.action {
            Action::WriteFile { after, .. } => after.text(),
            _ => None,
        }
    }

    /// A step that writes a file whose present text is known (`None`: it is not there).
    pub fn write(path: &str, before: Option<&str>, after: impl Into<String>, mode: u32, why: String) -> Step {
        let before_sha256 = before.map(|text| sha256(text.as_bytes()));
        let (path, before, after) = (path.to_owned(), before.map(str::to_owned), Content::Text(after.into()));
        Step { action: Action::WriteFile { path, before_sha256, before, after, mode }, why }
    }

    /// A step that writes a file which is no text; of what is there now, only the hash is known.
    pub fn write_binary(path: &str, before_sha256: Option<String>, after: Vec<u8>, mode: u32, why: String) -> Step {
        let (path, after) = (path.to_owned(), Content::Binary(after));
        Step { action: Action::WriteFile { path, before_sha256, before: None, after, mode }, why }
    }

    /// A step that removes a file.
    pub fn remove(path: &str, before: &str, why: String) -> Step {
        let (before_sha256, before) = (sha256(before.as_bytes()), before.to_owned());
        Step { action: Action::RemoveFile { path: path.to_owned(), before_sha256, before }, why }
    }
}
