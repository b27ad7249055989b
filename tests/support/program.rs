//! Runs the program as a user would, with a limit of time.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here may take on a busy machine; a hang is longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a run said.
pub struct Said {
    /// The arguments, for messages.
    pub args: String,
    /// The exit code; 128 and the signal if it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs the program with arguments.
pub fn vfioneer(args: &[&str]) -> Said {
    run(Command::new(env!("CARGO_BIN_EXE_vfioneer")).args(args).stdin(Stdio::null()))
}

/// Runs a command that leads to the program.
pub fn run(command: &mut Command) -> Said {
    let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{args:?} takes longer than {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { args: args.join(" "), code, out: text(out.join().unwrap()), err: text(err.join().unwrap()) }
}

impl Said {
    /// A documented exit code, no panic, no control characters, an error's text where there is an error.
    #[track_caller]
    pub fn sane(&self, case: &str) {
        let all = format!("{case}: {}: exit code {}\n{}{}", self.args, self.code, self.out, self.err);
        assert!(matches!(self.code, 0..=3), "{all}");
        assert!(!self.err.contains("bug in vfioneer") && !self.err.contains("panicked"), "{all}");
        assert_eq!(self.code >= 2, !self.err.is_empty(), "{all}");
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!self.out.contains(steers) && !self.err.contains(steers), "{all:?}");
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{}: {error}: {}{}", self.args, self.out, self.err))
    }
}
