//! `vfioneer apply PLAN|DEVICE…`: a plan as one transaction.

use super::change::{self, Progress, REBOOT};
use super::plan::{GoalArgs, arguments as plan_arguments, resolved};
use super::{Answer, Global};
use crate::apply::Session;
use crate::error::{Error, Result};
use crate::facts::{Needs, Snapshot};
use crate::goal::Request;
use crate::host::{Caller, Fact, Host, Interrupt, Kind, console};
use crate::plan::{self, Plan};
use crate::report::plan::Next;
use crate::report::{self, Style};
use clap::Args;
use serde_json::Value;

/// Arguments of `apply`.
#[derive(Args, Debug)]
#[command(override_usage = "vfioneer apply [OPTIONS] <PLAN|DEVICE...>")]
#[command(after_help = "Instead of devices, a plan file that `vfioneer plan -o FILE` wrote; it is\n\
    applied only while this host still gives the same plan.\n\n\
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
    alone(&args.goal, document.is_some())?;
    let request = match &document {
        Some(document) => Request::from_json(document.get("goal").unwrap_or(&Value::Null))?,
        None => args.goal.request()?,
    };
    if document.as_ref().is_some_and(is_of_recording) {
        return Err(Error::refused("this plan was made from a recording: it is for reading only")
            .hint("make it on the host itself: `vfioneer plan DEVICE -o FILE`"));
    }
    let options = global.host_options();
    let shown = Next { options: &options, ..Next::default() };
    let arguments = match document {
        Some(_) => plan_arguments(&request),
        None => args.goal.typed(),
    };
    let host = change::host(global)?;
    let mut progress = Progress::new(global);
    // What was interrupted is undone before the plan is made. The locks are not held while somebody reads it.
    let recovered = Session::open(&host, Caller::new())?.recover(&mut |event| progress.tell(event))?;
    change::is_whole(&recovered)?;
    if host.kind() == Kind::Live {
        change::settle(&host)?;
    }
    let snap = global.snapshot(Needs::PLAN)?;
    let goal = resolved(request.clone(), &snap)?;
    let plan = plan::make(&snap, &goal);
    if let Some(difference) = document.as_ref().and_then(|document| plan::difference(document, &plan)) {
        return Err(Error::refused(format!("this host does not give that plan: {difference}"))
            .hint(format!("make the plan again with `vfioneer plan {arguments} -o FILE`, look at it, then apply it")));
    }
    applicable(&snap, &plan, &shown, &arguments)?;
    if plan.steps.is_empty() {
        return Ok(Answer::yes(report::transaction::nothing(global.json)));
    }
    if document.is_none() {
        if !global.json {
            console::stderr(&report::plan::text(&Style::stderr(), &snap, &plan, &shown));
        }
        change::consent(args.yes, "Apply this?")?;
    }
    let host = host.heeding(Interrupt::watch());
    let session = Session::open(&host, Caller::new())?;
    session.recover(&mut |event| progress.tell(event))?;
    if document.is_none() && !args.yes {
        // The locks were not held while somebody read the plan.
        let now = global.snapshot(Needs::PLAN)?;
        is_the_same(&plan, &plan::make(&now, &resolved(request, &now)?))?;
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
pub(super) fn applicable(snap: &Snapshot, plan: &Plan, shown: &Next<'_>, arguments: &str) -> Result<()> {
    if plan.applicable {
        return Ok(());
    }
    console::stderr(&report::plan::text(&Style::stderr(), snap, plan, shown));
    let (what, hint) = match plan.refused.first() {
        Some(first) if first.allowable => (
            "this plan is refused, for the reasons above",
            format!("what --allow {} gives away is said in `vfioneer plan --help`", first.guard),
        ),
        Some(_) => ("this plan is refused, for the reasons above", "there is no safe way to allow it".to_owned()),
        None => (
            "part of this plan is done by hand",
            format!("do it as said above, then run this again; `vfioneer plan {arguments}` shows what is left"),
        ),
    };
    Err(Error::refused(what).hint(hint))
}

/// Refuses what stands beside a plan file: it has its own goal, and is the only one.
fn alone(goal: &GoalArgs, is_plan: bool) -> Result<()> {
    if let ([first, .., last], false) = (goal.named(), is_plan) {
        let is_file = |name: &&String| match console::user_file(name) {
            Fact::Known(bytes) => name.ends_with(".json") || bytes.trim_ascii_start().starts_with(b"{"),
            _ => false,
        };
        return match goal.named().iter().find(is_file) {
            Some(plan) => Err(Error::usage(format!("{plan} is a file, and more is named: give one plan, or devices"))
                .hint(format!("one plan after the other, or the devices themselves: {first} … {last}"))),
            None => Ok(()),
        };
    }
    let beside = goal.beside_plan();
    match is_plan && !beside.is_empty() {
        true => {
            Err(Error::usage(format!("{} cannot be used with a plan file, which has its own goal", beside.join(", ")))
                .hint("make another plan with it: `vfioneer plan DEVICE -o FILE`, with the options there"))
        }
        false => Ok(()),
    }
}

/// True for a plan that nothing speaks against and that is not to be applied all the same; a recording has no fingerprint either.
fn is_of_recording(plan: &Value) -> bool {
    let none = |name: &str| plan.get(name).and_then(Value::as_array).is_some_and(Vec::is_empty);
    plan.get("applicable") == Some(&Value::Bool(false))
        && none("refused")
        && (none("manual") || plan.get("host") == Some(&Value::Null))
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
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let what = match () {
            () if bytes.trim_ascii().is_empty() => "is empty".to_owned(),
            () if error.is_eof() => "is cut off: the end of the plan is missing".to_owned(),
            () => format!("is no plan: {error}"),
        };
        Error::usage(format!("{name} {what}")).hint(hint)
    })?;
    match document.get("schema").and_then(Value::as_str) {
        Some(plan::SCHEMA) => Ok(Some(document)),
        Some(other) if other.starts_with("vfioneer/plan/") => {
            Err(Error::refused(format!("{name} was made by another version of vfioneer ({other}): make it again"))
                .hint(hint))
        }
        Some(other) => {
            Err(Error::refused(format!("{name} is {other:?}; this vfioneer applies {:?}", plan::SCHEMA)).hint(hint))
        }
        None => Err(Error::usage(format!("{name} is no plan: it does not say what it is")).hint(hint)),
    }
}
