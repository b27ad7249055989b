//! The demonstration: one emulated host with an IOMMU and two identical GPUs gives one away, is rebooted, and takes it back.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cells::{Cell, State, Vendor};
use crate::variant::Variant;
use crate::{disk, guest};

/// Boots the host and prints each of its answers as soon as it is there.
pub fn run(folder: &Path, binary: &Path) -> Result<(), String> {
    let host = Cell { variant: Variant::usual(13), vendor: Vendor::Amd, state: State::IdenticalGpus };
    let image = host.variant.image()?;
    let folder = folder.join("demo");
    let out = folder.join("share/out");
    let terminal = std::io::stdout().is_terminal();
    println!(
        "Booting an emulated PC (Debian {}, IOMMU on, two identical spare GPUs) in QEMU; no hardware is needed.",
        host.variant.debian
    );
    let mut shown = 0;
    let mut said = Instant::now();
    let mut look = |elapsed: Duration| {
        if show(&out, &mut shown, terminal) {
            said = Instant::now();
        } else if said.elapsed() >= Duration::from_secs(if terminal { 1 } else { 10 }) {
            progress(elapsed, terminal);
            said = Instant::now();
        }
    };
    disk::share(&folder, binary, &["demo.sh"])?;
    disk::prepare(host.state, host.vendor, &image, &folder)?;
    for (number, stage) in ["take", "back"].into_iter().enumerate() {
        if number > 0 {
            println!("\nRebooting it.");
        }
        let stage_file = folder.join("share/stage");
        fs::write(&stage_file, stage).map_err(|e| format!("{}: {e}", stage_file.display()))?;
        guest::boot(&host.machine().arguments(), &folder, |elapsed, _| {
            look(elapsed);
            true
        })?;
        look(Duration::ZERO);
        if !out.join(stage).exists() {
            return Err(format!("the host did not do its part\n{}", guest::tail(&folder.join("serial.log"), 20)));
        }
    }
    disk::discard(&folder)
}

/// Prints the answers that came since; whether there were any.
fn show(out: &Path, shown: &mut u32, terminal: bool) -> bool {
    let before = *shown;
    while let Ok(text) = fs::read_to_string(out.join(format!("{}.answer", *shown + 1))) {
        *shown += 1;
        if terminal {
            print!("\r\x1b[K");
        }
        println!("\n{text}");
    }
    *shown != before
}

fn progress(elapsed: Duration, terminal: bool) {
    let line = format!("{:3} s  the emulated PC is starting or working", elapsed.as_secs());
    if terminal {
        print!("\r\x1b[K{line}");
        let _ = std::io::stdout().flush();
    } else {
        println!("{line}");
    }
}
