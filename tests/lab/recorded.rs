//! A capture of a lab host: its answers equal the live ones but for pseudonyms, and it holds nothing that identifies.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Which identifying word became which pseudonym, the same in every answer of one capture.
#[derive(Default)]
pub struct Pseudonyms {
    given: BTreeMap<String, String>,
}

impl Pseudonyms {
    /// Every place where the recorded answer differs from the live one, other than by a pseudonym for one of `secrets`.
    pub fn compare(&mut self, live: &Value, recorded: &Value, secrets: &[&str]) -> Vec<String> {
        let mut problems = Vec::new();
        self.walk("", live, recorded, secrets, &mut problems);
        problems
    }

    fn walk(&mut self, at: &str, live: &Value, recorded: &Value, secrets: &[&str], problems: &mut Vec<String>) {
        match (live, recorded) {
            (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
                for (key, value) in a {
                    self.walk(&format!("{at}.{key}"), value, &b[key], secrets, problems);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (one, other)) in a.iter().zip(b).enumerate() {
                    self.walk(&format!("{at}[{index}]"), one, other, secrets, problems);
                }
            }
            (Value::String(a), Value::String(b)) if self.same_text(a, b, secrets) => {}
            _ if live == recorded => {}
            _ => problems.push(format!("capture: {at} was {live}, recorded {recorded}")),
        }
    }

    fn same_text(&mut self, live: &str, recorded: &str, secrets: &[&str]) -> bool {
        let (one, other): (Vec<&str>, Vec<&str>) = (words(live), words(recorded));
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| *a == b || self.pseudonym(a, b, secrets))
    }

    /// Whether `b` can stand for `a`: `a` identifies, and was always and only called `b`.
    fn pseudonym(&mut self, a: &str, b: &str, secrets: &[&str]) -> bool {
        let identifies = secrets.iter().any(|secret| a.to_lowercase().contains(&secret.to_lowercase()));
        let known = self.given.entry(a.to_owned()).or_insert_with(|| b.to_owned()).clone();
        let only = self.given.values().filter(|value| *value == b).count() == 1;
        identifies && known == b && only
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| c.is_whitespace() || "=,;\"'()".contains(c)).collect()
}

/// The names of the secrets that the capture holds anywhere, in names or contents.
pub fn leaks(capture: &Path, secrets: &[&str]) -> Result<Vec<String>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", capture.display());
    let file = std::fs::File::open(capture).map_err(fail)?;
    let mut archive = tar::Archive::new(zstd::stream::read::Decoder::new(file).map_err(fail)?);
    let mut problems = Vec::new();
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let name = entry.path().map_err(fail)?.display().to_string();
        let link = entry.link_name().map_err(fail)?.map(|link| link.display().to_string()).unwrap_or_default();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(fail)?;
        let text = format!("{name}\n{link}\n{}", String::from_utf8_lossy(&bytes)).to_lowercase();
        for secret in secrets.iter().filter(|secret| text.contains(&secret.to_lowercase())) {
            problems.push(format!("capture: {name} holds {secret}"));
        }
        for secret in secrets.iter().filter(|secret| holds_serial_of(&bytes, secret)) {
            problems.push(format!("capture: {name} holds {secret} as a device's serial number"));
        }
    }
    Ok(problems)
}

/// Whether a config space holds the serial number that a network card makes of its MAC address.
fn holds_serial_of(bytes: &[u8], mac: &str) -> bool {
    let parts: Vec<u8> = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let [a, b, c, d, e, f] = parts[..] else { return false };
    [0xfe, 0xff].iter().any(|middle| bytes.windows(8).any(|at| at == [f, e, d, *middle, 0xff, c, b, a]))
}
