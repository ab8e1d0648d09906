//! Keeps the resolver's answers about names of /etc/hosts, for a second.
//!
//! For every question, getaddrinfo(3) opens and reads that file, and asks the kernel how to reach each address. In a
//! thread of its own this takes longer than anything else a program does with `localhost`. All answers come from the
//! resolver. We keep an answer only for a name in the file, only if nsswitch.conf(5) names `files` first, and only
//! until one of the two files changes. We keep it for a second at most, because the order of the addresses depends on
//! the network.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer is kept.
const AGE: Duration = Duration::from_secs(1);
/// The most names that we keep; programs ask for a few.
const MOST: usize = 256;
/// Whether the resolver follows nsswitch.conf(5). musl does not: it always looks at /etc/hosts first.
const SWITCHED: bool = cfg!(not(target_env = "musl"));

/// Device, inode number, size, time of the last change of content, and of properties. No two files have the same
/// identity.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

/// The files behind an answer; `None` for a missing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source([Option<Identity>; 2]);

struct Answer {
    addresses: Vec<String>,
    until: Instant,
}

/// The answers that we keep.
pub(crate) struct Hosts {
    hosts: PathBuf,
    switch: PathBuf,
    /// The files behind `names` and `answers`.
    source: Option<Source>,
    /// The names that the resolver is sure to find in /etc/hosts.
    names: HashSet<Vec<u8>>,
    answers: HashMap<Vec<u8>, Answer>,
}

impl Hosts {
    pub(crate) fn of_the_system() -> Self {
        Self::new("/etc/hosts", "/etc/nsswitch.conf")
    }

    fn new(hosts: impl AsRef<Path>, switch: impl AsRef<Path>) -> Self {
        Self {
            hosts: hosts.as_ref().to_owned(),
            switch: switch.as_ref().to_owned(),
            source: None,
            names: HashSet::new(),
            answers: HashMap::new(),
        }
    }

    /// The files as they are now.
    pub(crate) fn source(&self) -> Source {
        Source(
            [&self.hosts, &self.switch].map(|path| fs::metadata(path).ok().map(|it| identity(&it))),
        )
    }

    /// The addresses of a name, if we keep an answer that is still valid.
    pub(crate) fn answer(&self, name: &[u8]) -> Option<&[String]> {
        let answer = self.answers.get(name)?;
        let known = answer.until > Instant::now() && self.source.as_ref() == Some(&self.source());
        known.then_some(&answer.addresses)
    }

    /// Keeps an answer of the resolver. The caller has taken `source` before it asked the resolver.
    pub(crate) fn keep(&mut self, name: &[u8], addresses: &[String], source: Source) {
        if self.source.as_ref() != Some(&source) {
            let Ok(names) = self.listed() else {
                return;
            };
            if self.source() != source {
                return;
            }
            self.names = names;
            self.answers.clear();
            self.source = Some(source);
        }
        if !self.names.contains(name) {
            return;
        }
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        let answer = Answer {
            addresses: addresses.to_vec(),
            until: Instant::now() + AGE,
        };
        self.answers.insert(name.to_vec(), answer);
    }

    /// Reads the names that the resolver is sure to find in the file. In doubt we ask the resolver each time: glibc also
    /// finds LOCALHOST where the file has localhost, but musl does not (lookup_name.c, name_from_hosts).
    fn listed(&self) -> io::Result<HashSet<Vec<u8>>> {
        if SWITCHED && !files_first(&read(&self.switch)?) {
            return Ok(HashSet::new());
        }
        let text = read(&self.hosts)?;
        Ok(lines(&text).flat_map(names).map(<[u8]>::to_vec).collect())
    }
}

/// The contents of a file; nothing for one that is not there.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text,
    }
}

fn identity(found: &Metadata) -> Identity {
    let content = (found.mtime(), found.mtime_nsec());
    let properties = (found.ctime(), found.ctime_nsec());
    (found.dev(), found.ino(), found.size(), content, properties)
}

/// Lines without their comments.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.split(|byte| *byte == b'\n');
    whole.map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// The names that a line of /etc/hosts gives an address.
fn names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut words = words(line);
    let address = words.next().and_then(|word| std::str::from_utf8(word).ok());
    let is_address = address.is_some_and(|text| text.parse::<IpAddr>().is_ok());
    words.filter(move |_| is_address)
}

/// Whether nsswitch.conf(5) asks /etc/hosts before anything else, and stops when the file has the name.
fn files_first(text: &[u8]) -> bool {
    let mut of_hosts = lines(text).filter_map(|line| line.trim_ascii().strip_prefix(b"hosts:"));
    let Some(services) = of_hosts.next() else {
        return false;
    };
    let mut words = words(services);
    // Brackets can give another action for a name that the file has.
    words.next() == Some(b"files")
        && words.next().is_none_or(|word| !word.starts_with(b"["))
        && of_hosts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("uring_io-hosts-{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            fs::write(
                path.join("switch"),
                "passwd: files\nhosts: files dns # both\n",
            )
            .unwrap();
            fs::write(
                path.join("hosts"),
                "127.0.0.1 localhost\n::1\tlocalhost ip6.test # six.test\nx wrong.test\n",
            )
            .unwrap();
            Self(path)
        }

        fn hosts(&self) -> Hosts {
            Hosts::new(self.0.join("hosts"), self.0.join("switch"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn keep(hosts: &mut Hosts, name: &str) -> bool {
        let source = hosts.source();
        hosts.keep(name.as_bytes(), &["127.0.0.1".to_owned()], source);
        hosts.answer(name.as_bytes()).is_some()
    }

    #[test]
    fn names_of_the_file_are_kept_and_no_others() {
        let folder = Folder::new("names");
        let mut hosts = folder.hosts();
        let kept = [
            "localhost",
            "LOCALHOST",
            "ip6.test",
            "six.test",
            "wrong.test",
            "local",
            "127.0.0.1",
            "",
        ];
        let kept = kept.map(|name| keep(&mut hosts, name));
        assert_eq!(kept, [true, false, true, false, false, false, false, false]);
        assert_eq!(
            hosts.answer(b"localhost"),
            Some(&["127.0.0.1".to_owned()][..])
        );
    }

    #[test]
    fn a_change_of_either_file_ends_all_answers() {
        for name in ["hosts", "switch"] {
            let folder = Folder::new(&format!("change-{name}"));
            let mut hosts = folder.hosts();
            assert!(keep(&mut hosts, "localhost") && keep(&mut hosts, "ip6.test"));
            let path = folder.0.join(name);
            let text = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(hosts.answer(b"localhost"), None);
            fs::write(&path, text).unwrap();
            assert_eq!(hosts.answer(b"localhost"), None);
            assert!(keep(&mut hosts, "localhost"));
            assert_eq!(hosts.answer(b"ip6.test"), None);
        }
    }

    #[test]
    fn the_file_is_read_again_only_after_a_change() {
        let folder = Folder::new("read");
        let mut hosts = folder.hosts();
        assert!(keep(&mut hosts, "localhost"));
        hosts.names = HashSet::from([b"of.this.test".to_vec()]);
        assert!(keep(&mut hosts, "of.this.test") && !keep(&mut hosts, "ip6.test"));
        fs::write(folder.0.join("hosts"), "127.0.0.1 ip6.test").unwrap();
        assert!(keep(&mut hosts, "ip6.test") && !keep(&mut hosts, "of.this.test"));
    }

    #[test]
    fn an_answer_that_was_made_while_a_file_changed_is_not_kept() {
        let folder = Folder::new("meanwhile");
        let mut hosts = folder.hosts();
        let before = hosts.source();
        fs::write(folder.0.join("hosts"), "127.0.0.2 localhost").unwrap();
        hosts.keep(b"localhost", &["127.0.0.1".to_owned()], before);
        assert_eq!(hosts.answer(b"localhost"), None);
    }

    #[test]
    fn an_answer_ends_by_itself() {
        let folder = Folder::new("age");
        let mut hosts = folder.hosts();
        assert!(keep(&mut hosts, "localhost"));
        hosts.answers.get_mut(&b"localhost"[..]).unwrap().until = Instant::now();
        assert_eq!(hosts.answer(b"localhost"), None);
    }

    #[test]
    fn nothing_is_kept_where_another_service_may_come_first() {
        let odd = [
            "hosts: dns files",
            "hosts: files [SUCCESS=merge] dns",
            "hosts: files\nhosts: dns",
            "passwd: files",
            "hosts:",
            "",
        ];
        assert_eq!(odd.map(|text| files_first(text.as_bytes())), [false; 6]);
        assert!([
            "hosts: files",
            " hosts:files dns",
            "hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns"
        ]
        .iter()
        .all(|text| files_first(text.as_bytes())));
    }
}
