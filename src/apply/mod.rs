//! The transaction: lock, journal, execute, undo, recover. The only module that gets the write handle.
//!
//! Goes in: a plan, and a host that can be changed. Comes out: the host as the plan says, or as it was. Before each step its intent is
//! on disk with all that undoing it needs, after it its result ([`journal`]). A transaction that was interrupted is undone by the next
//! session, before anything else.

pub(crate) mod bind;
mod checks;
mod command;
mod execute;
mod fence;
mod files;
mod generate;
pub mod history;
pub mod journal;
mod packages;
mod product;
mod readback;
pub mod rollback;
mod session;
pub mod setup;
mod sriov;
pub mod store;
mod undo;

pub use rollback::RolledBack;
pub use session::{Applied, Recovered, Session};

use crate::steps::Action;

/// What a session tells while it works.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An interrupted transaction is undone first.
    Recovering(u32),
    /// A step begins: its number, counted from 1, of how many.
    Step(usize, usize, &'a Action),
    /// A step is undone.
    Undo(&'a Action),
    /// A line that a command printed; empty: about a second has passed.
    Output(&'a str),
    /// What was left as it is, or what else the user should know.
    Note(&'a str),
}

/// Who listens to a session.
pub type Listener<'a> = &'a mut dyn FnMut(Event<'_>);
