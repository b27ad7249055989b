//! Remembers every answer of a host: what a capture holds is exactly what the facts asked for.
//!
//! Goes in: a host, and the questions of whoever reads facts through it. Comes out: a [`Recording`] by real paths,
//! with each symbolic link on the way, so that the same questions get the same answers from it.

use super::recording::{Body, Entry, Recording};
use super::{Digest, Fact, FileType, Host, Kind, Query, Stat, Why};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// As in the kernel.
const LINKS: usize = super::beneath::LINKS;
/// A file of which only the start is asked for is recorded whole up to this size, in bytes: config space.
const SMALL: u64 = 16 << 10;

/// A host whose answers are remembered.
pub struct Recorder<'a> {
    host: &'a dyn Host,
    recording: RefCell<Recording>,
    /// Targets of the paths that are links, by real path.
    links: RefCell<HashMap<String, Option<String>>>,
    /// Real path to the names by which it was asked for, where they differ.
    asked: RefCell<BTreeMap<String, BTreeSet<String>>>,
}

impl<'a> Recorder<'a> {
    /// Starts with nothing remembered.
    pub fn new(host: &'a dyn Host) -> Self {
        Recorder { host, recording: RefCell::default(), links: RefCell::default(), asked: RefCell::default() }
    }

    /// What was answered so far, and by which other names paths were asked for.
    pub fn finish(self) -> (Recording, BTreeMap<String, BTreeSet<String>>) {
        let asked = self.asked.take();
        (self.into_recording(), asked)
    }

    /// What was answered so far. An answer about something inside what is no directory (a file, a link that turns
    /// in a circle, what may not be read) follows from that, and is left out.
    pub fn into_recording(self) -> Recording {
        let mut recording = self.recording.into_inner();
        let paths: Vec<String> = recording.entries.keys().cloned().collect();
        for path in paths {
            let inside = path.match_indices('/').skip(1).filter_map(|(at, _)| path.get(..at)).any(|above| {
                match recording.entries.get_mut(above).map(|entry| &mut entry.body) {
                    None | Some(Body::Dir(_)) => false,
                    Some(body @ Body::Seen) => {
                        *body = Body::Dir(Fact::Unknown(Why::NotRecorded));
                        false
                    }
                    Some(_) => true,
                }
            });
            if inside {
                recording.entries.remove(&path);
            }
        }
        recording
    }

    /// The real path of what a path leads to, as far as its links can be followed. Links on the way are remembered.
    fn place(&self, path: &str, follow_last: bool) -> String {
        let mut ahead: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut real = String::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    real.truncate(real.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let here = format!("{real}/{name}");
            let last = ahead.iter().all(|name| name.is_empty());
            match self.target(&here) {
                Some(target) if (follow_last || !last) && links < LINKS => {
                    links += 1;
                    if target.starts_with('/') {
                        real.clear();
                    }
                    for name in target.split('/').rev() {
                        ahead.push_front(name.to_owned());
                    }
                }
                _ => real = here,
            }
        }
        if real.is_empty() {
            real.push('/');
        }
        if real != path {
            self.asked.borrow_mut().entry(real.clone()).or_default().insert(path.to_owned());
        }
        real
    }

    fn target(&self, real: &str) -> Option<String> {
        if let Some(target) = self.links.borrow().get(real) {
            return target.clone();
        }
        let target = self.host.link(real).into_known();
        if let Some(target) = &target {
            self.put(real, Body::Link(target.clone()), None);
        }
        self.links.borrow_mut().insert(real.to_owned(), target.clone());
        target
    }

    /// Remembers what is at a real path, unless more is known already.
    fn put(&self, real: &str, body: Body, stat: Option<Fact<Stat>>) {
        let mut recording = self.recording.borrow_mut();
        let entry = recording
            .entries
            .entry(real.to_owned())
            .or_insert(Entry { body: Body::Seen, stat: Fact::Unknown(Why::NotRecorded) });
        if weight(&body) > weight(&entry.body) {
            entry.body = body;
        }
        if let Some(stat) = stat
            && entry.stat == Fact::Unknown(Why::NotRecorded)
        {
            entry.stat = stat;
        }
    }

    /// Remembers a path with what it is, without its content.
    fn put_plain(&self, real: &str, stat: Fact<Stat>) {
        let body = match &stat {
            Fact::Known(known) => match known.file_type {
                FileType::File => Body::File(Fact::Unknown(Why::NotRecorded)),
                FileType::Dir => Body::Dir(Fact::Unknown(Why::NotRecorded)),
                FileType::Other => Body::Other,
                FileType::Link => Body::Seen,
            },
            Fact::Absent => return self.put_absent(real),
            Fact::Unknown(why) => Body::Denied(why.clone()),
        };
        self.put(real, body, Some(stat));
    }

    /// Remembers that a path is not there: the first name on its way that is missing.
    fn put_absent(&self, real: &str) {
        let ends = real.match_indices('/').skip(1).map(|(at, _)| at).chain([real.len()]);
        for end in ends {
            let Some(prefix) = real.get(..end) else { return };
            match self.recording.borrow().entries.get(prefix) {
                Some(Entry { body: Body::Absent, .. }) => return,
                Some(Entry { body: Body::Dir(_), .. }) => continue,
                _ => {}
            }
            match self.host.stat(prefix) {
                Fact::Absent => return self.put(prefix, Body::Absent, None),
                // What is no directory has nothing in it, and says so by itself.
                stat => self.put_plain(prefix, stat),
            }
        }
    }

    /// Remembers that there was nothing to read or to list. What is of the right type all the same is on its way out:
    /// the files of a process that has ended.
    fn put_gone(&self, real: &str, wanted: FileType) {
        match self.host.stat(real) {
            Fact::Known(stat) if stat.file_type == wanted => {
                let mut recording = self.recording.borrow_mut();
                let entry = recording.entries.entry(real.to_owned());
                let entry = entry.or_insert(Entry { body: Body::Absent, stat: Fact::Unknown(Why::NotRecorded) });
                if weight(&entry.body) <= 3 {
                    *entry = Entry { body: Body::Absent, stat: Fact::Unknown(Why::NotRecorded) };
                }
            }
            stat => self.put_plain(real, stat),
        }
    }

    fn put_content(&self, path: &str, content: Fact<Body>) {
        let real = self.place(path, true);
        let known = self.recording.borrow().entries.get(&real).is_some_and(|entry| entry.stat.known().is_some());
        if content.is_absent() {
            return self.put_gone(&real, FileType::File);
        }
        if !known {
            self.put_plain(&real, self.host.stat(&real));
        }
        match content {
            Fact::Known(body) => self.put(&real, body, None),
            Fact::Unknown(why) => {
                let mut recording = self.recording.borrow_mut();
                match recording.entries.get_mut(&real).map(|entry| &mut entry.body) {
                    Some(Body::File(content)) if content.is_unknown() => *content = Fact::Unknown(why),
                    Some(body @ Body::Denied(_)) => *body = Body::Denied(why),
                    _ => {}
                }
            }
            Fact::Absent => {}
        }
    }
}

/// How much a body says.
fn weight(body: &Body) -> u8 {
    match body {
        Body::Seen => 0,
        Body::Denied(_) => 1,
        Body::Absent => 2,
        Body::File(Fact::Unknown(_)) | Body::Dir(Fact::Unknown(_)) | Body::Other => 3,
        Body::Start(_) => 4,
        Body::File(_) | Body::Dir(_) | Body::Link(_) => 5,
    }
}

impl Host for Recorder<'_> {
    fn kind(&self) -> Kind {
        self.host.kind()
    }

    fn label(&self) -> String {
        self.host.label()
    }

    fn read(&self, path: &str) -> Fact<Vec<u8>> {
        let content = self.host.read(path);
        self.put_content(path, content.clone().map(|bytes| Body::File(Fact::Known(bytes))));
        content
    }

    fn read_start(&self, path: &str, most: usize) -> Fact<Vec<u8>> {
        if self.host.stat(path).known().is_some_and(|stat| stat.size <= SMALL) {
            return self.read(path).map(|mut bytes| {
                bytes.truncate(most);
                bytes
            });
        }
        let content = self.host.read_start(path, most);
        self.put_content(path, content.clone().map(Body::Start));
        content
    }

    fn link(&self, path: &str) -> Fact<String> {
        let answer = self.host.link(path);
        let real = self.place(path, false);
        match &answer {
            Fact::Known(target) => self.put(&real, Body::Link(target.clone()), None),
            Fact::Absent => self.put_plain(&real, self.host.stat(&real)),
            Fact::Unknown(why) => self.put(&real, Body::Denied(why.clone()), None),
        }
        answer
    }

    fn entries(&self, dir: &str) -> Fact<Vec<String>> {
        let answer = self.host.entries(dir);
        let real = self.place(dir, true);
        if !answer.is_absent() {
            self.put_plain(&real, self.host.stat(&real));
        }
        match &answer {
            Fact::Known(names) => {
                for name in names {
                    self.put(&format!("{}/{name}", real.trim_end_matches('/')), Body::Seen, None);
                }
                self.put(&real, Body::Dir(Fact::Known(())), None);
            }
            Fact::Unknown(why) => {
                let mut recording = self.recording.borrow_mut();
                if let Some(Entry { body: Body::Dir(listed), .. }) = recording.entries.get_mut(&real) {
                    *listed = Fact::Unknown(why.clone());
                }
            }
            Fact::Absent => self.put_gone(&real, FileType::Dir),
        }
        answer
    }

    fn stat(&self, path: &str) -> Fact<Stat> {
        let answer = self.host.stat(path);
        self.put_plain(&self.place(path, true), answer.clone());
        answer
    }

    fn digest(&self, path: &str, digest: &Digest) -> Fact<Vec<u8>> {
        let answer = self.host.digest(path, digest);
        let real = self.place(path, true);
        self.put_plain(&real, self.host.stat(&real));
        if !answer.is_absent() {
            let key = (real, digest.name.to_owned());
            self.recording.borrow_mut().digests.insert(key, answer.clone());
        }
        answer
    }

    fn query(&self, query: Query) -> Fact<Vec<u8>> {
        let answer = self.host.query(query);
        self.recording.borrow_mut().queries.insert(query, answer.clone());
        answer
    }
}
