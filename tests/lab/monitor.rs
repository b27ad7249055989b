//! A running machine's monitor: QMP over a socket that has no name.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// A machine that does not answer for so long hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// So many events may come before an answer.
const EVENTS: usize = 1000;

/// The monitor of one machine.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
    /// Whether QEMU takes commands already.
    ready: bool,
}

impl Monitor {
    /// The monitor, and what must be QEMU's stdin and stdout.
    pub fn new() -> io::Result<(Monitor, [OwnedFd; 2])> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(LIMIT))?;
        ours.set_write_timeout(Some(LIMIT))?;
        Ok((Monitor { stream: BufReader::new(ours), ready: false }, [theirs.try_clone()?.into(), theirs.into()]))
    }

    /// What QEMU says to a command as one types it: nothing where it did it, mostly.
    pub fn human(&mut self, line: &str) -> Result<String, String> {
        if !self.ready {
            self.execute(&json!({"execute": "qmp_capabilities"}))?;
            self.ready = true;
        }
        let command = json!({"execute": "human-monitor-command", "arguments": {"command-line": line}});
        let said = self.execute(&command)?;
        Ok(said.as_str().unwrap_or_default().replace('\r', ""))
    }

    fn execute(&mut self, command: &Value) -> Result<Value, String> {
        let fail = |e: io::Error| format!("the monitor: {e}");
        writeln!(self.stream.get_mut(), "{command}").map_err(fail)?;
        for _ in 0..EVENTS {
            let mut line = String::new();
            if self.stream.read_line(&mut line).map_err(fail)? == 0 {
                return Err("the monitor: QEMU has ended".to_owned());
            }
            let mut said: Value = serde_json::from_str(&line).map_err(|e| format!("the monitor: {line}: {e}"))?;
            // The greeting and events are neither.
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            } else if said.get("error").is_some() {
                return Err(format!("the monitor: {command}: {line}"));
            }
        }
        Err(format!("the monitor: no answer to {command}"))
    }
}
