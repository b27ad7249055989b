//! Power cuts: the machine is ended at a random moment of `apply` or `rollback`, its generators included, and booted again
//! with nothing typed. The next command must find a state that it finishes or undoes, and in the end nothing is left.

use std::time::{Duration, Instant};

use crate::guest;
use crate::take::{Answers, Boots};
use crate::takes::{Extra, Take};
use crate::tree;

/// How long a command takes before one was seen to its end, in seconds.
const GUESS: u64 = 60;

/// Random numbers that a printed seed brings back (splitmix64, by Sebastiano Vigna).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// Runs the cuts of a cell. `LAB_SEED` repeats a run's moments, as far as this machine is as fast as then.
pub fn run(take: &Take, boots: &mut Boots<'_>, problems: &mut Vec<String>) -> Result<(), String> {
    let Extra::Cuts(count) = take.extra else { return Ok(()) };
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = std::env::var("LAB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(clock.as_secs());
    println!("lab: {}: LAB_SEED={seed}", take.name());
    let mut random = Random(seed);
    let mut took = [("apply", GUESS), ("rollback", GUESS)];
    let first = boots.run("first")?;
    for number in 1..=count {
        // One of the two finishes or undoes what the last cut left, and then the other one is cut.
        let cut = usize::from(number > 1 && random.below(2) == 1);
        let mend = (number > 1).then(|| took[1 - cut].0);
        let stages = match (mend, cut) {
            (None, _) => "apply",
            (_, 0) => "recover rollback look apply",
            _ => "recover apply rollback",
        };
        let at = Duration::from_millis(random.below(took[cut].1 * 1000));
        println!("lab: {}: cut {number}: {} ms into {}", take.name(), at.as_millis(), took[cut].0);
        let answers = power_cut(boots, stages, took[cut].0, at)?;
        if let Some(mend) = mend {
            mended(&answers, mend, &first, problems)?;
        }
        for (step, seconds) in &mut took {
            *seconds = answers.took(step).map_or(*seconds, |took| took.max(1));
        }
    }
    let last = boots.run("recover rollback look")?;
    mended(&last, "rollback", &first, problems)?;
    let end = boots.run("look")?;
    if end.drivers()? != first.drivers()? {
        problems.push(format!("the drivers were {:?}, in the end {:?}", first.drivers()?, end.drivers()?));
    }
    Ok(())
}

/// Runs `stages` and cuts the power that long after `step` began; what was answered before is kept.
fn power_cut(boots: &mut Boots<'_>, stages: &str, step: &str, at: Duration) -> Result<Answers, String> {
    let serial = boots.folder.join("serial.log");
    let mark = format!("step {step}");
    let mut began: Option<Instant> = None;
    boots.start(stages, |_| {
        if began.is_none() && guest::tail(&serial, usize::MAX).contains(&mark) {
            began = Some(Instant::now());
        }
        began.is_none_or(|began| began.elapsed() < at)
    })
}

/// Whether the command after a cut put things right.
fn mended(now: &Answers, mend: &str, first: &Answers, problems: &mut Vec<String>) -> Result<(), String> {
    now.expect("recovered", &[0], problems);
    // Nothing is left for a rollback where the interrupted transaction was undone.
    now.expect(mend, if mend == "rollback" { &[0, 3, 10] } else { &[0, 10] }, problems);
    if mend == "rollback" {
        problems.extend(tree::differences(&first.read("tree")?, &now.read("tree")?, &[])?);
    }
    Ok(())
}
