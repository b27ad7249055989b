//! Plans are applied to the constructed hosts, in a temporary directory and with scripts in place of the distributions' tools
//! (`tests/support/tools/README.md`): what changes is on record, nothing is left to plan, and rolling back gives the first bytes again
//! (`UPDATE_EXPECT=1 cargo test --test apply_hosts` rewrites the record; `HOSTS=part` takes some hosts).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/scripted.rs"]
mod scripted;

use scripted::Scripted;
use similar::TextDiff;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use vfioneer::apply::{Session, rollback};
use vfioneer::facts::{self, Needs, Snapshot};
use vfioneer::goal::Request;
use vfioneer::host::Caller;
use vfioneer::host::change::TreeMut;
use vfioneer::plan::{self, Plan};
use vfioneer::steps::Action;

/// What is at a path, as far as a rollback has to bring it back.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(u32, Vec<u8>),
    Link(String),
    Dir,
}

type Nodes = BTreeMap<String, Node>;

/// All of a tree but vfioneer's own record.
fn read(root: &Path) -> Nodes {
    let mut nodes = Nodes::new();
    below(root, root, &mut nodes);
    nodes.retain(|path, _| !path.starts_with("/var/lib/vfioneer") && path != "/var/lib" && path != "/var");
    nodes
}

fn below(root: &Path, dir: &Path, nodes: &mut Nodes) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let at = entry.unwrap().path();
        let path = format!("/{}", at.strip_prefix(root).unwrap().display());
        let meta = at.symlink_metadata().unwrap();
        let node = if meta.is_symlink() {
            Node::Link(std::fs::read_link(&at).unwrap().to_string_lossy().into_owned())
        } else if meta.is_dir() {
            below(root, &at, nodes);
            Node::Dir
        } else {
            Node::File(meta.permissions().mode() & 0o7777, std::fs::read(&at).unwrap())
        };
        nodes.insert(path, node);
    }
}

/// A file as text: an image as the list of what it holds.
fn text(node: Option<&Node>) -> String {
    match node {
        None | Some(Node::Dir) => String::new(),
        Some(Node::Link(target)) => format!("-> {target}\n"),
        Some(Node::File(_, bytes)) if bytes.starts_with(b"070701") || bytes.starts_with(b"MZ") && bytes.len() > 64 => {
            let line = |(name, text): &(String, String)| match name.as_str() {
                _ if text.is_empty() || text.len() > 200 => format!("{name}\n"),
                _ => format!("{name}: {}\n", text.replace('\n', "⏎")),
            };
            hosts::images::members(bytes).iter().map(line).collect()
        }
        Some(Node::File(_, bytes)) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// New files longer than this are the same on every host; they have tests of their own.
const LONG: usize = 12;

/// What differs between two trees, as one diff.
fn difference(before: &Nodes, after: &Nodes) -> String {
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let mut whole = String::new();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old == new || [old, new].contains(&Some(&Node::Dir)) {
            continue;
        }
        let (old_text, new_text) = (text(old), text(new));
        let name = |side: &str, node: Option<&Node>| match node {
            None => "/dev/null".to_owned(),
            Some(Node::File(mode, _)) if *mode & 0o111 != 0 => format!("{side}{path} (mode {mode:o})"),
            Some(_) => format!("{side}{path}"),
        };
        if old.is_none() && new_text.lines().count() > LONG {
            whole += &format!("--- /dev/null\n+++ {}: …\n", name("b", new));
            continue;
        }
        let diff = TextDiff::from_lines(&old_text, &new_text);
        whole += &diff.unified_diff().context_radius(1).header(&name("a", old), &name("b", new)).to_string();
    }
    whole
}

/// A constructed host on the disk.
struct Written {
    dir: tempfile::TempDir,
}

impl Written {
    fn new(name: &str) -> Written {
        // In memory, where there is such a place: every write is synced.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("var/tmp")).unwrap();
        Written { dir }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn host(&self) -> TreeMut {
        TreeMut::mounted(self.root()).unwrap().with_runner(Box::<Scripted>::default())
    }

    fn snapshot(&self) -> Snapshot {
        facts::collect(&self.host(), Needs::PLAN)
    }

    fn plan(&self, request: &Request) -> Plan {
        let snap = self.snapshot();
        plan::make(&snap, &request.clone().resolve(&snap.pci).unwrap())
    }

    /// Makes what a plan generates once by the scripts, so that what is there is as they make it.
    fn settle(&self, plan: &Plan) -> Result<(), String> {
        for step in &plan.steps {
            let argv: Vec<String> = match &step.action {
                // The bare tool: what the script puts in front is taken from what it leaves.
                Action::Run { argv, .. } if argv.first().is_some_and(|program| program == "unshare") => {
                    ["proxmox-boot-tool", "refresh"].map(str::to_owned).to_vec()
                }
                Action::Generate { argv, output, .. } => {
                    argv.iter().map(|word| word.replace("{out}", output)).collect()
                }
                // A deployment is made anew each time.
                Action::Run { undo, .. } if undo.first().is_some_and(|program| program != "rpm-ostree") => undo.clone(),
                _ => continue,
            };
            let done = scripted::run(self.root(), &argv, &[]).unwrap();
            if !done.success() {
                return Err(format!("{argv:?}: {}", done.text()));
            }
        }
        Ok(())
    }
}

/// Steps in a few words.
fn short(plan: &Plan) -> String {
    let step = |action: &Action| match action {
        Action::WriteFile { path, .. } => format!("\n    write {path}"),
        Action::RemoveFile { path, .. } => format!("\n    remove {path}"),
        Action::Generate { output, .. } => format!("\n    generate {output}"),
        Action::Run { argv, .. } => format!("\n    run {}", argv.first().map_or("", String::as_str)),
        Action::Bind { address, driver, .. } => format!("\n    bind {address} {driver}"),
        Action::VirtualFunctions { address, count, .. } => format!("\n    make {count} VFs of {address}"),
    };
    plan.steps
        .iter()
        .map(|one| step(&one.action))
        .chain(plan.manual.iter().map(|line| format!("\n    ! {line}")))
        .collect()
}

/// What came of one goal on one host: the difference that applying makes; none where nothing is applied.
fn apply(name: &str, request: &Request) -> Result<Option<String>, String> {
    let host = Written::new(name);
    let plan = host.plan(request);
    if !plan.applicable || plan.steps.is_empty() {
        return Ok(None);
    }
    host.settle(&plan)?;
    let plan = host.plan(request);
    let before = read(host.root());
    let tree = host.host();
    let said = |error: vfioneer::error::Error| format!("{error} {:?}", error.hints);
    let session = Session::open(&tree, Caller::new()).map_err(said)?;
    session.apply(&plan, &mut |_| {}).map_err(said)?;
    let after = read(host.root());
    let again = host.plan(request);
    // What boots may be copies that a person has made again.
    let copies =
        again.steps.is_empty() && again.manual.iter().any(|line| line.contains("from copies of the initramfs"));
    if !again.is_empty() && !copies {
        return Err(format!("planned again:{}\n  after{}", short(&again), short(&plan)));
    }
    let transaction = rollback::choose(&tree, None).map_err(said)?.ok_or("no transaction is in effect")?;
    let rolled = session.rollback(transaction, &mut |_| {}).map_err(said)?;
    let mut end = read(host.root());
    let mut start = before.clone();
    if host.snapshot().boot.chain() == Some(vfioneer::facts::boot::Chain::Ostree) {
        // Each change makes a deployment more; the words of the newest are what they were.
        for nodes in [&mut start, &mut end] {
            nodes.retain(|path, _| {
                !["/boot/loader/entries/", "/boot/ostree/", "/ostree"].iter().any(|start| path.starts_with(start))
            });
        }
    }
    if start != end {
        return Err(format!("after rollback:\n{}left: {:?}", difference(&start, &end), rolled.left));
    }
    Ok(Some(difference(&before, &after)))
}

/// Compares what came of one goal with the record, or writes it; says what is wrong.
fn on_record(name: &str, goal: &str, request: &Request) -> Option<String> {
    let path = hosts::dir().join(name).join("expected").join(format!("apply-{goal}.diff"));
    let found = match apply(name, request) {
        Ok(found) => found,
        Err(why) => return Some(format!("{name}, {goal}: {why}")),
    };
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        match &found {
            Some(text) => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            None => drop(std::fs::remove_file(path)),
        }
    } else if std::fs::read_to_string(&path).ok() != found {
        return Some(format!("{name}/apply-{goal}.diff is not as on record (UPDATE_EXPECT=1 rewrites it)"));
    }
    None
}

/// Every goal of every host, a few at a time.
fn every_goal<T: Send>(each: impl Fn(&str, &str, &Request) -> Option<T> + Sync) -> Vec<T> {
    let wanted = std::env::var("HOSTS").unwrap_or_default();
    let mut goals: Vec<(String, String, Request)> = Vec::new();
    for name in hosts::names().into_iter().filter(|name| name.contains(&wanted)) {
        goals.extend(hosts::load(&name).plans.into_iter().map(|(goal, request)| (name.clone(), goal, request)));
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, goal, request)) =
                    goals.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if let Some(one) = each(name, goal, request) {
                        found.lock().unwrap().push(one);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn what_applying_changes_is_on_record() {
    let faults = every_goal(on_record);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What vfioneer leaves to a person, or refuses, changes nothing, and says so by its exit code.
#[test]
fn what_is_refused_changes_nothing() {
    let refused = every_goal(|name, goal, request| {
        let host = Written::new(name);
        let plan = host.plan(request);
        if plan.applicable {
            return None;
        }
        let at = format!("{name}, {goal}");
        assert!(!plan.refused.is_empty() || !plan.manual.is_empty(), "{at}");
        let before = read(host.root());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml(request)).unwrap();
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_vfioneer"));
        program.arg("--root").arg(host.root()).args(["apply", "--yes", "--goal"]).arg(file.path());
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{at}: {said}");
        assert!(read(host.root()) == before, "{at}: {}", difference(&before, &read(host.root())));
        let missing =
            |line: &&String| !said.replace(char::is_whitespace, "").contains(&line.replace(char::is_whitespace, ""));
        Some((at, plan.manual.iter().find(missing).cloned()))
    });
    let hosts: Vec<&String> = refused.iter().map(|(at, _)| at).collect();
    for chain in ["limine", "refind", "unknown-loader"] {
        let any = std::env::var("HOSTS").is_ok_and(|wanted| !wanted.is_empty());
        assert!(any || hosts.iter().any(|at| at.contains(chain)), "{chain} is not refused: {hosts:?}");
    }
    let silent: Vec<_> = refused.iter().filter(|(_, missing)| missing.is_some()).collect();
    assert!(silent.is_empty(), "not told what to do by hand: {silent:#?}");
}

/// A goal as the file that `--goal` takes.
fn toml(request: &Request) -> String {
    let json = serde_json::to_value(request).unwrap();
    let fields = json.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    fields.map(|(key, value)| format!("{key} = {value}\n")).collect()
}
