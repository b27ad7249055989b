//! Signals that ask a change to stop: it is undone then, instead of being left half-way.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Was the program asked to stop?
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on SIGINT and SIGTERM only ask. SIGHUP, of a connection that broke, does nothing: what was begun is finished.
    pub fn watch() -> Interrupt {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            // Where it cannot be registered, the signal ends the program, and the next command undoes what was begun.
            let _ = signal_hook::flag::register(signal, Arc::clone(&interrupt.asked));
        }
        let _ = signal_hook::flag::register(SIGHUP, Arc::default());
        interrupt
    }

    /// Was it asked?
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Asks.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}
