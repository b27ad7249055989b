//! `vfioneer check`: what stands in the way, from a host or from pasted text.

use super::{Answer, Global};
use crate::checks::verdict::verdict;
use crate::checks::{self, Finding, Severity};
use crate::error::{Error, Result};
use crate::facts::{Needs, Snapshot, pasted};
use crate::goal::Goal;
use crate::host::{Fact, READ_LIMIT, console};
use crate::report;
use clap::Args;

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Judge the host for giving away these devices
    device: Vec<String>,
    /// Only the named functions, not the whole slot of a GPU
    #[arg(long, requires = "device")]
    only: bool,
    /// Read pasted messages, listings and configuration instead of a host; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root", "from"])]
    log: Option<String>,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Answer> {
    let snap = match &args.log {
        // clap sees this only if the options stand behind the verb.
        Some(_) if global.root.is_some() || global.from.is_some() => {
            return Err(Error::usage("--log cannot be used with --root or --from")
                .hint("pasted text is read by itself: leave the other option out"));
        }
        Some(name) => {
            let snap = paste(name)?;
            if !global.json && snap.log.known().is_some_and(|log| log.text.trim().is_empty()) {
                return Ok(Answer::yes("The text is empty.\n".to_owned()));
            }
            snap
        }
        None => global.snapshot(Needs::ALL)?,
    };
    let goal = Goal::resolve(&args.device, args.only, &snap.pci)?;
    let findings = checks::run(&snap, &goal);
    let verdict = verdict(&snap, &goal, &findings);
    let text = if global.json {
        report::json::check(verdict, &findings)
    } else {
        let text = report::check::findings(&global.style(), &snap, &goal, verdict, &findings, global.verbose);
        report::at_host(&text, &global.host_options())
    };
    Ok(Answer { text, code: u8::from(has_error(&findings)) })
}

fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn paste(name: &str) -> Result<Snapshot> {
    let hint = "give a file, or `-` and the text on standard input";
    let (shown, content) = if name == "-" { ("stdin", console::stdin()) } else { (name, console::user_file(name)) };
    match content {
        Fact::Known(bytes) => Ok(pasted::snapshot(shown, &String::from_utf8_lossy(&bytes))),
        Fact::Absent => Err(Error::usage(format!("cannot read {shown}: there is no such file")).hint(hint)),
        Fact::Unknown(crate::host::Why::TooLarge) => {
            Err(Error::usage(format!("cannot read {shown}: it is larger than {} MiB", READ_LIMIT >> 20))
                .hint("give the part around the failure"))
        }
        Fact::Unknown(why) => Err(Error::usage(format!("cannot read {shown}: {why}")).hint(hint)),
    }
}
