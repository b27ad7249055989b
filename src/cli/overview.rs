//! `vfioneer` alone: this host in one screen.

use super::{Answer, Global};
use crate::checks;
use crate::error::Result;
use crate::facts::Needs;
use crate::goal::Goal;
use crate::report::{self, Style};

pub(super) fn run(global: &Global) -> Result<Answer> {
    let snap = global.snapshot(Needs::ALL)?;
    let findings = checks::run(&snap, &Goal::default());
    if global.json {
        return Ok(Answer::yes(report::overview::json(&snap, &findings)));
    }
    Ok(Answer::yes(report::overview::text(&Style::table(), &snap, &findings, &global.host_options())))
}
