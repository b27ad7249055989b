//! Files that were written for a guest, as text and as JSON.

use super::{Style, plain};
use crate::adapters::vm::guest::{Hardware, System};
use serde_json::{Value, json};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: String,
    /// It was not there before, as it is.
    pub new: bool,
}

/// A line for each file, then what to do with them.
pub fn text(style: &Style, system: &System, written: &[Written]) -> String {
    let mut text = String::new();
    for file in written {
        let what = if file.new { style.strong("Wrote") } else { "Is there already:".to_owned() };
        text.push_str(&format!("{what} {}\n", plain(&file.path)));
    }
    text.push_str("\nCopy the folder into the guest, and read README.txt there.\n");
    if *system == System::Windows(Vec::new()) {
        text.push_str(
            "No .reg file: its keys end with a part that only the guest knows. msi.ps1 finds\n\
             them there, and writes one with -RegFile; or name the places with --instance.\n",
        );
    }
    text
}

/// `{"schema": "vfioneer/vm-guest/1", "system", "functions": [{"address", "windows_id"}], "files": [{"path", "written"}]}`.
pub fn json(system: &System, hardware: &[Hardware], written: &[Written]) -> String {
    let functions: Vec<Value> = hardware
        .iter()
        .map(|one| json!({"address": one.address.to_string(), "windows_id": format!(r"PCI\{}", one.windows_id())}))
        .collect();
    let files: Vec<Value> = written.iter().map(|file| json!({"path": file.path, "written": file.new})).collect();
    let document = json!({
        "schema": "vfioneer/vm-guest/1", "system": system.name(), "functions": functions, "files": files,
    });
    format!("{document:#}\n")
}
