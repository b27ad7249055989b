//! The lab: boots emulated hosts with an IOMMU in known states and compares what the program says there with the truth.
//!
//! `LAB=subset`, `LAB=all`, `LAB=cuts`, `LAB=unproven`, `LAB=<a cell's name or a part of names>`, several of these, or `LAB=demo`;
//! nothing runs without it, and a name that no cell has lists them all. `LAB_BINARY` names the program, static, because it runs inside other releases.
//! `LAB=all` leaves out cells that passed before with the same program, runner and image. With
//! `UPDATE_EXPECT=1` the cells that pass are noted in `proven.txt`, from which docs/support.md is made.
//!
//! Three kinds of cells: those of `cells` look at a host and change nothing; those of `takes` plan, apply, reboot, verify, roll
//! back and reboot on one disk; those of `swifts` keep nothing, start within seconds, and try what is done with a running host's
//! devices: `make lab LAB=swift`. Disks are described in `variant`: release, boot loader, initramfs generator, layout. One
//! cell, say that of systemd-boot and dracut on btrfs: `make lab LAB=take-debian13-amd-sdboot-dracut-btrfs`; what it
//! left is in `.lab/cells/<name>/<number>-<stages>/` (answers, exit codes in `status`, `serial.log`) and beside them its
//! disk where it failed. An image alone: `tests/lab/image.sh trixie sdboot dracut btrfs` prints its path.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod cards;
mod cell;
mod cells;
mod cuts;
mod demo;
mod disk;
mod findings;
mod guest;
mod jobs;
mod listing;
mod machine;
mod monitor;
mod picture;
mod recorded;
mod stamp;
mod swift;
mod swifts;
mod take;
mod takes;
mod tree;
mod variant;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jobs::Job;

/// One processor each; more machines than that only slow each other down.
const MOST_AT_ONCE: usize = 4;
/// How often a machine that still runs says so.
const PROGRESS: Duration = Duration::from_secs(15);

/// The cells still to be run, and how many passed and failed.
struct Run {
    waiting: Vec<Job>,
    passed: usize,
    failed: Vec<String>,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let selection = std::env::var("LAB").unwrap_or_default();
    if selection.is_empty() {
        println!("lab: not run (use make lab)\n0 cells run");
        return ExitCode::SUCCESS;
    }
    match lab(&selection) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            println!("lab: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn lab(selection: &str) -> Result<bool, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab");
    let binary = std::env::var_os("LAB_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_vfioneer").into(), PathBuf::from);
    if selection == "demo" {
        return demo::run(&folder, &binary).map(|()| true);
    }
    fs::create_dir_all(folder.join("passed")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut waiting = jobs::select(selection);
    if waiting.is_empty() {
        let names: Vec<String> = jobs::all().iter().map(Job::name).collect();
        return Err(format!("no cell is called {selection}; there are: {}", names.join(" ")));
    }
    let common = stamp::common(&binary)?;
    let started = Instant::now();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    println!("lab: {} cells, {at_once} at a time", waiting.len());
    waiting.reverse();
    let run = Mutex::new(Run { waiting, passed: 0, failed: Vec::new() });
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| work(&run, &folder, &binary, &common, selection == "all"));
        }
    });
    let run = run.into_inner().map_err(|e| e.to_string())?;
    for name in &run.failed {
        println!("lab: failed: {name}");
    }
    println!("lab: took {} s", started.elapsed().as_secs());
    println!("{} passed, {} failed", run.passed, run.failed.len());
    Ok(run.failed.is_empty())
}

/// Takes cells until none is left.
fn work(run: &Mutex<Run>, folder: &Path, binary: &Path, common: &str, resume: bool) {
    loop {
        let Some(cell) = run.lock().ok().and_then(|mut run| run.waiting.pop()) else { return };
        let name = cell.name();
        let started = Instant::now();
        let stamped = cell.image().and_then(|image| Ok((stamp::file(folder, common, &cell, &image)?, image)));
        let problems = match stamped {
            Err(problem) => vec![problem],
            Ok((stamp, _)) if resume && stamp.exists() => {
                println!("lab: {name}: passed before, nothing changed since");
                Vec::new()
            }
            Ok((stamp, image)) => attempt(&cell, &image, folder, binary, &stamp),
        };
        let Ok(mut run) = run.lock() else { return };
        if problems.is_empty() {
            run.passed += 1;
        } else {
            println!("lab: {name}: FAILED after {} s", started.elapsed().as_secs());
            problems.iter().for_each(|problem| println!("    {}", problem.replace('\n', "\n    ")));
            run.failed.push(name);
        }
    }
}

fn attempt(cell: &Job, image: &Path, folder: &Path, binary: &Path, stamp: &Path) -> Vec<String> {
    let name = cell.name();
    let started = Instant::now();
    let mut said = started;
    println!("lab: {name}: starts");
    let own = folder.join("cells").join(&name);
    let mut problems = cell.run(image, &own, binary, |elapsed| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            let line: String = guest::tail(&own.join("serial.log"), 1).chars().take(60).collect();
            println!("lab: {name}: {} s, {line}", elapsed.as_secs());
        }
    });
    if problems.is_empty() {
        println!("lab: {name}: passed in {} s", started.elapsed().as_secs());
        problems.extend(fs::write(stamp, "").err().map(|e| format!("{}: {e}", stamp.display())));
        problems.extend(stamp::proven(cell).err());
    }
    problems
}
