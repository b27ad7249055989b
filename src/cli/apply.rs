//! `vfioneer apply PLAN|DEVICE…`: a plan as one transaction.

use super::change::{self, Progress, REBOOT};
use super::plan::GoalArgs;
use super::{Answer, Global};
use crate::apply::Session;
use crate::error::{Error, Result};
use crate::facts::{Needs, Snapshot};
use crate::goal::Request;
use crate::host::{Caller, Fact, Interrupt, console};
use crate::plan::{self, Plan};
use crate::report::{self, Style};
use clap::Args;
use serde_json::Value;

/// Arguments of `apply`.
#[derive(Args, Debug)]
#[command(override_usage = "vfioneer apply [OPTIONS] <PLAN|DEVICE...>")]
#[command(after_help = "Instead of devices, a plan file that `vfioneer plan -o FILE` wrote; it is applied only\n\
    while this host still gives the same plan.\n\n\
    Exit codes: 0 done, 2 usage, 3 refused and nothing changed, 4 failed and undone,\n\
    5 a person is needed, 10 done: reboot, then `vfioneer verify`.")]
pub struct ApplyArgs {
    #[command(flatten)]
    goal: GoalArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(global: &Global, args: &ApplyArgs) -> Result<Answer> {
    let document = args.goal.plan_file().map(read).transpose()?.flatten();
    let request = match &document {
        Some(document) => Request::from_json(document.get("goal").unwrap_or(&Value::Null))?,
        None => args.goal.request()?,
    };
    let host = change::host(global)?;
    let mut progress = Progress::new(global);
    // What was interrupted is undone before the plan is made. The locks are not held while somebody reads it.
    let recovered = Session::open(&host, Caller::new())?.recover(&mut |event| progress.tell(event))?;
    change::is_whole(&recovered)?;
    let snap = global.snapshot(Needs::PLAN)?;
    let goal = request.clone().resolve(&snap.pci)?;
    let plan = plan::make(&snap, &goal);
    if let Some(difference) = document.as_ref().and_then(|document| plan::difference(document, &plan)) {
        return Err(Error::refused(format!("this host does not give that plan: {difference}"))
            .hint("make the plan again with `vfioneer plan -o FILE`, look at it, then apply it"));
    }
    applicable(&snap, &plan, global)?;
    if plan.steps.is_empty() {
        return Ok(Answer::yes(report::transaction::nothing(global.json)));
    }
    if document.is_none() {
        if !global.json {
            console::stderr(&report::plan::text(&Style::stderr(), &snap, &plan, &report::plan::Next::default()));
        }
        change::consent(args.yes, "Apply this?")?;
    }
    let host = host.heeding(Interrupt::watch());
    let session = Session::open(&host, Caller::new())?;
    session.recover(&mut |event| progress.tell(event))?;
    if document.is_none() && !args.yes {
        // The locks were not held while somebody read the plan.
        let now = global.snapshot(Needs::PLAN)?;
        is_the_same(&plan, &plan::make(&now, &request.resolve(&now.pci)?))?;
    }
    let applied = session.apply(&plan, &mut |event| progress.tell(event))?;
    let text = match global.json {
        true => report::transaction::applied_json(applied.id, &plan),
        false => report::transaction::applied(&global.style(), applied.id, &plan, &global.host_options()),
    };
    Ok(Answer { text, code: if plan.reboot { REBOOT } else { 0 } })
}

/// Refuses if the plan is not the one that was shown.
fn is_the_same(shown: &Plan, now: &Plan) -> Result<()> {
    let shown = serde_json::to_value(shown).map_err(|error| Error::bug(error.to_string()))?;
    match plan::difference(&shown, now) {
        None => Ok(()),
        Some(difference) => Err(Error::refused(format!("this is not what was shown any more: {difference}"))
            .hint("look at the plan again, then apply it")),
    }
}

/// Refuses what `apply` does not do, with what `plan` says about it.
fn applicable(snap: &Snapshot, plan: &Plan, global: &Global) -> Result<()> {
    if plan.applicable {
        return Ok(());
    }
    console::stderr(&report::plan::text(&Style::stderr(), snap, plan, &report::plan::Next::default()));
    let (what, hint) = match plan.refused.first() {
        Some(first) if first.allowable => (
            "this plan is refused, for the reasons above",
            format!("what --allow {} gives away is said in `vfioneer plan --help`", first.guard),
        ),
        Some(_) => ("this plan is refused, for the reasons above", "there is no safe way to allow it".to_owned()),
        None => (
            "part of this plan is done by hand",
            format!("do it as said above, then run this again (`vfioneer {}plan` shows it)", global.host_options()),
        ),
    };
    Err(Error::refused(what).hint(hint))
}

/// A plan file; `None` if what was named is none.
fn read(name: &str) -> Result<Option<Value>> {
    let looks_like_one = name.ends_with(".json") || name.contains('/');
    let bytes = match console::user_file(name) {
        Fact::Known(bytes) if looks_like_one || bytes.trim_ascii_start().starts_with(b"{") => bytes,
        Fact::Known(_) => return Ok(None),
        Fact::Absent if looks_like_one => {
            return Err(Error::usage(format!("cannot read the plan {name}: there is no such file")));
        }
        Fact::Unknown(why) if looks_like_one => {
            return Err(Error::usage(format!("cannot read the plan {name}: {why}")));
        }
        _ => return Ok(None),
    };
    let hint = "give a file that `vfioneer plan -o FILE` wrote";
    let document: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::usage(format!("{name} is no plan: {error}")).hint(hint))?;
    match document.get("schema").and_then(Value::as_str) {
        Some(plan::SCHEMA) => Ok(Some(document)),
        Some(other) => {
            Err(Error::refused(format!("{name} is {other:?}; this vfioneer applies {:?}", plan::SCHEMA)).hint(hint))
        }
        None => Err(Error::usage(format!("{name} is no plan: it does not say what it is")).hint(hint)),
    }
}
