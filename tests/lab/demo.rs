//! The demonstration: one emulated host with an IOMMU and a spare GPU, asked on the terminal.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cells::{Cell, State, Vendor};
use crate::variant::Variant;
use crate::{cell, guest};

/// Boots the host and prints each of its answers as soon as it is there.
pub fn run(folder: &Path, binary: &Path) -> Result<(), String> {
    let host = Cell { variant: Variant::usual(13), vendor: Vendor::Amd, state: State::Good };
    let image = host.variant.image()?;
    let folder = folder.join("demo");
    let out = folder.join("share/out");
    let terminal = std::io::stdout().is_terminal();
    println!(
        "Booting an emulated PC (Debian {}, IOMMU on, a spare GPU) in QEMU; no hardware is needed.",
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
    cell::boot(&host, &image, &folder, binary, "demo.sh", &mut look)?;
    show(&out, &mut shown, terminal);
    if out.join("status").exists() && shown > 0 {
        Ok(())
    } else {
        Err(format!("the host did not answer\n{}", guest::tail(&folder.join("serial.log"), 20)))
    }
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
