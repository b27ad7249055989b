//! Measures `vfioneer` against `lspci` on a made-up host of ten thousand PCI functions.
//!
//! `make bench`, or `cargo build --release && cargo run --release --example bench [FUNCTIONS [DIR]]`. With a directory
//! the made-up host is only written there, to be looked at with `vfioneer --root DIR`. Ratios are medians of
//! pairs that ran one after the other, so that a busy machine slows both. It is a benchmark: it prints the goals
//! next to the figures and never fails.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::expect_used, dead_code)]

mod apply;
#[path = "../../tests/support/hosts/mod.rs"]
mod hosts;
mod image;
#[path = "../../tests/support/scripted.rs"]
mod scripted;
mod tree;

use hosts::roms;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Pairs of runs of which the median is taken.
const ROUNDS: usize = 11;

fn main() -> std::io::Result<()> {
    let functions: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    if let Some(dir) = std::env::args_os().nth(2) {
        return tree::make(Path::new(&dir), functions);
    }
    let program = program()?;
    let dir = std::env::temp_dir().join(format!("vfioneer-bench-{}", std::process::id()));
    let result = measure(&program, &dir, functions);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn measure(program: &Path, dir: &Path, functions: usize) -> std::io::Result<()> {
    let (large, small) = (dir.join("large"), dir.join("small"));
    println!("Making hosts of {functions} and {} functions below {} ...", functions / 10, dir.display());
    tree::make(&large, functions)?;
    tree::make(&small, functions / 10)?;
    let list = |root: &Path| vfioneer(program, root, &["list", "--all"]);
    let check = |root: &Path| vfioneer(program, root, &["check"]);
    let lspci = Command::new("lspci").arg("--version").output().is_ok();

    println!("{:32} {:>10} {:>10} {:>8}  goal", "", "vfioneer", "lspci", "ratio");
    for (name, ours, goal) in [
        ("list --all", &list as &dyn Fn(&Path) -> Command, "0.50"),
        ("check", &check as &dyn Fn(&Path) -> Command, "1.00"),
    ] {
        if !lspci {
            let (time, _, _) = pairs(|| ours(&large), || ours(&large));
            println!("{name:32} {:>10} {:>10} {:>8}  {goal} (lspci is not installed)", shown(time), "-", "-");
            continue;
        }
        let (a, b, ratio) = pairs(|| ours(&large), || lspci_nnk(&large));
        println!("{name:32} {:>10} {:>10} {ratio:>8.2}  {goal} or less", shown(a), shown(b));
    }
    for (name, ours) in
        [("list --all", &list as &dyn Fn(&Path) -> Command), ("check", &check as &dyn Fn(&Path) -> Command)]
    {
        let (a, b, ratio) = pairs(|| ours(&large), || ours(&small));
        let title = format!("{name}: {functions} to {}", functions / 10);
        println!("{title:32} {:>10} {:>10} {ratio:>8.2}  11.00 or less", shown(a), shown(b));
    }
    // The first graphics card of the made-up host, its sound and its USB.
    let plan = |root: &Path| vfioneer(program, root, &["plan", "--json", tree::CARD]);
    let (a, b, ratio) = pairs(|| plan(&large), || check(&large));
    println!("{:32} {:>10} {:>10} {ratio:>8.2}  1.50 or less", "plan to check", shown(a), shown(b));
    let runs = (0..ROUNDS).map(|_| apply::once()).collect::<Result<Vec<_>, _>>().map_err(std::io::Error::other)?;
    let own = median(runs.iter().map(|run| run.0), Duration::cmp);
    println!("{:32} {:>10} {:>19}  300 ms or less", "apply without its commands", shown(own), "");
    let path = image::make(&dir.join("image"))?;
    let opened = || -> std::io::Result<(Duration, Duration)> {
        let start = Instant::now();
        image::open(&dir.join("image")).map_err(std::io::Error::other)?;
        let own = start.elapsed();
        let mut zstd = Command::new("zstd");
        zstd.args(["-q", "-d", "-c"]).arg(&path);
        Ok((own, time(zstd)))
    };
    opened()?;
    let runs = (0..ROUNDS).map(|_| opened()).collect::<std::io::Result<Vec<_>>>()?;
    let (own, zstd) =
        (median(runs.iter().map(|run| run.0), Duration::cmp), median(runs.iter().map(|run| run.1), Duration::cmp));
    let ratio = median(runs.iter().map(|run| run.0.as_secs_f64() / run.1.as_secs_f64()), f64::total_cmp);
    let title = format!("open an image of {} MiB", std::fs::metadata(&path)?.len() >> 20);
    println!("{title:32} {:>10} {:>10} {ratio:>8.2}  1.50 or less, to zstd -d", shown(own), shown(zstd));
    let rom = dir.join("card.rom");
    std::fs::write(&rom, roms::rom(&vec![roms::legacy((0x10de, 0x2204), 32); 1000]))?;
    let show = || {
        let mut command = Command::new(program);
        command.args(["rom", "show"]).arg(&rom);
        command
    };
    let cksum = || {
        let mut command = Command::new("cksum");
        command.arg(&rom);
        command
    };
    let (a, b, ratio) = pairs(show, cksum);
    println!("{:32} {:>10} {:>10} {ratio:>8.2}  20 ms or less, to cksum", "rom show: 1,000 images", shown(a), shown(b));
    // A hook that has nothing to do with a VM runs at its start and at its end all the same.
    let xml = dir.join("vm.xml");
    let disk =
        "<disk type='file' device='disk'><source file='/var/lib/libvirt/images/a.qcow2'/><target dev='vda'/></disk>\n";
    std::fs::write(
        &xml,
        format!("<domain type='kvm'><name>other</name><devices>{}</devices></domain>", disk.repeat(50)),
    )?;
    let hook = || {
        let mut command =
            vfioneer(program, &small, &["hook", "run", "libvirt", "--", "other", "prepare", "begin", "-"]);
        command.stdin(std::fs::File::open(&xml).expect("a file that was written can be read"));
        command
    };
    let shell = || {
        let mut command = Command::new("sh");
        command.args(["-c", ":"]);
        command
    };
    let (a, b, ratio) = pairs(hook, shell);
    println!(
        "{:32} {:>10} {:>10} {ratio:>8.2}  10 ms or less, to sh",
        "hook: a VM without devices",
        shown(a),
        shown(b)
    );
    for (name, command) in [("list --all", list(&large)), ("check", check(&large)), ("plan", plan(&large))] {
        println!("{:32} {:>7.1} MiB {:>19}  64.0 MiB or less", format!("{name}: peak memory"), peak(command)?, "");
    }
    Ok(())
}

/// The program of the same build as this one.
fn program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).unwrap_or(Path::new(".")).join("vfioneer");
    if path.exists() {
        return Ok(path);
    }
    Err(std::io::Error::other(format!("{} is missing: build it first (cargo build --release)", path.display())))
}

fn vfioneer(program: &Path, root: &Path, verb: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(root).args(verb);
    command
}

fn lspci_nnk(root: &Path) -> Command {
    let mut command = Command::new("lspci");
    let path = root.join("sys/bus/pci");
    command.args(["-nnk", "-A", "linux-sysfs", "-O"]).arg(format!("sysfs.path={}", path.display()));
    command
}

/// Runs A B A B … and gives the median time of each, and the median of the ratios.
fn pairs(a: impl Fn() -> Command, b: impl Fn() -> Command) -> (Duration, Duration, f64) {
    time(a());
    time(b());
    let runs: Vec<(Duration, Duration)> = (0..ROUNDS).map(|_| (time(a()), time(b()))).collect();
    let ratios = runs.iter().map(|(a, b)| a.as_secs_f64() / b.as_secs_f64());
    (
        median(runs.iter().map(|run| run.0), Duration::cmp),
        median(runs.iter().map(|run| run.1), Duration::cmp),
        median(ratios, f64::total_cmp),
    )
}

fn median<T: Copy>(values: impl Iterator<Item = T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(order);
    values[values.len() / 2]
}

fn time(mut command: Command) -> Duration {
    let start = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("a program that was found can run");
    start.elapsed()
}

/// The peak of a process's resident memory in MiB, read again and again until it ends (the kernel forgets it then).
fn peak(mut command: Command) -> std::io::Result<f64> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(peak)
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
