//! Handing functions over now, without a reboot: only where nothing uses them and the next boot does the same.

use super::case::Case;
use super::driver;
use super::words::Word;
use crate::checks::words;
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::plan::texts::said;
use crate::steps::{Action, Step};

/// The functions that are not on their driver yet.
fn waiting<'a>(case: &Case<'a>) -> Vec<&'a Function> {
    case.chosen.iter().copied().filter(|f| !f.on_vfio()).collect()
}

/// One step for each function that waits, none if there is nothing to wait for; or why a reboot is needed: the id of the
/// sentence.
pub(super) fn hand_over(case: &Case<'_>, wanted: &[Word]) -> Result<Vec<Step>, &'static str> {
    let waiting = waiting(case);
    let words = words_pending(case.snap, wanted);
    if waiting.is_empty() && !words {
        return Ok(Vec::new());
    }
    if !case.runs() {
        return Err("live-not-running");
    }
    if words {
        return Err("live-words");
    }
    if case.snap.iommu.running() != Fact::Known(true) {
        return Err("live-no-iommu");
    }
    // A group that needs more than the chosen functions waits for what makes it smaller.
    if !case.in_the_way.is_empty() || waiting.iter().any(|f| f.group.known().is_none()) {
        return Err("live-group");
    }
    if case.snap.usage.complete != Fact::Known(()) {
        return Err("live-unseen");
    }
    if waiting.iter().any(|f| f.is_display() && f.boot_display != Fact::Known(false)) {
        return Err("live-display");
    }
    if waiting.iter().any(|f| case.snap.usage.of(&f.address).next().is_some()) {
        return Err("live-in-use");
    }
    if !loadable(case) {
        return Err("live-no-driver");
    }
    Ok(waiting.iter().map(|f| step(case, f)).collect())
}

fn step(case: &Case<'_>, function: &Function) -> Step {
    let former = function.driver.known().cloned();
    let why = said(if former.is_some() { "bind" } else { "bind-free" }, &[]);
    Step { action: Action::Bind { address: function.address, driver: driver::of(case.snap, function), former }, why }
}

/// The running kernel has vfio-pci, or can load it.
pub(super) fn loadable(case: &Case<'_>) -> bool {
    let kernel = &case.snap.kernel;
    let in_running = kernel.running().is_some_and(|running| {
        [&running.builtin, &running.available]
            .iter()
            .any(|modules| modules.known().is_some_and(|all| all.contains("vfio_pci")))
    });
    in_running || kernel.loaded.known().is_some_and(|loaded| loaded.contains("vfio_pci"))
}

/// True if the running kernel is not what the words ask for.
fn words_pending(snap: &Snapshot, wanted: &[Word]) -> bool {
    let line = words::running(snap);
    wanted.iter().any(|word| snap.kernel.cmdline.known().is_none() || line.has_word(&word.word) != word.present)
}
