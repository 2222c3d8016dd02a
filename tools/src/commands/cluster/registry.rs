//! The state directory: which nodes were made on this machine, and where they are.
//!
//! ```text
//! DIR/nodes.json           the list, replaced as a whole
//! DIR/lock                 held while it changes
//! DIR/secret               the cluster's secret
//! DIR/password             of the account `resprout` of this command; readable by its owner only
//! DIR/nodes/ID/node.toml   a node's settings
//! DIR/nodes/ID/log         what it says
//! DIR/nodes/ID/data        its data, if they are not elsewhere
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// Version of `nodes.json`.
const SCHEMA_VERSION: u32 = 1;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// It routes, and may decide.
    Aggregator,
    /// It has copies.
    Leaf,
}

impl Role {
    /// As settings have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregator",
            Self::Leaf => "leaf",
        }
    }
}

/// A process, so that another one of the same number is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it was started, in ticks of the kernel since its own start.
    pub(super) started: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name here, for life: hexadecimal digits.
    pub(super) id: String,
    /// What it is for.
    pub(super) role: Role,
    /// Where it listens.
    pub(super) host: String,
    /// The port for clients.
    pub(super) port: u16,
    /// The port for probes, metrics and status.
    pub(super) http_port: u16,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// The process that was started last, if it was not stopped since.
    pub(super) process: Option<Process>,
}

impl Entry {
    /// As much of the id as people are shown.
    pub(super) fn short(&self) -> &str {
        self.id.get(..10).unwrap_or(&self.id)
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Serialize, Deserialize)]
struct Listed {
    schema_version: u32,
    nodes: Vec<Entry>,
}

/// The state directory. While one that may change it is there, no other command changes it.
#[derive(Debug)]
pub(super) struct Registry {
    dir: PathBuf,
    /// The nodes, in the order in which they were made.
    pub(super) nodes: Vec<Entry>,
    /// Held for life, if this one may change.
    _lock: Option<File>,
}

/// Where it is if nothing is said: below the user's data, else here.
pub(super) fn default_dir() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let data = of("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(of("HOME")?).join(".local/share")));
    data.map_or_else(|| PathBuf::from("resprout-cluster"), |data| data.join("resprout/cluster"))
}

fn cannot(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("cannot {doing} {}", path.display());
    move |error| Failure::new(what, error, "check --state-dir and its permissions")
}

impl Registry {
    /// Reads what is there, to look at it.
    ///
    /// # Errors
    /// If there is nothing, or it is not understood.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        // Nodes keep the paths whatever the directory is that they are started from.
        let dir = std::path::absolute(dir).map_err(cannot("use", dir))?;
        let path = dir.join("nodes.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("there is no cluster in {}", dir.display());
                let fix = "make one with setup-cluster, or give --state-dir";
                return Err(Failure::new(what, "it has no nodes.json", fix).exiting(Exit::Usage));
            }
            Err(error) => return Err(cannot("read", &path)(error)),
        };
        let listed: Listed = serde_json::from_str(&text).map_err(|error| {
            let what = format!("cannot understand {}", path.display());
            Failure::new(what, error, "put a copy of the file back")
        })?;
        if listed.schema_version > SCHEMA_VERSION {
            let what = format!("cannot use {}", path.display());
            let why = format!("it is of version {}", listed.schema_version);
            return Err(Failure::new(what, why, "use the newer resprout").exiting(Exit::Refused));
        }
        Ok(Self { dir, nodes: listed.nodes, _lock: None })
    }

    /// Reads what is there, to change it. Waits for nobody.
    ///
    /// # Errors
    /// As [`Registry::open`]; if another command changes it.
    pub(super) fn change(dir: &Path) -> Result<Self, Failure> {
        // Looked at first, so that nothing is made where nothing is.
        let dir = Self::open(dir)?.dir;
        let lock = lock(&dir)?;
        Ok(Self { _lock: Some(lock), ..Self::open(&dir)? })
    }

    /// Begins a new one.
    ///
    /// # Errors
    /// If there is one already.
    pub(super) fn create(dir: &Path) -> Result<Self, Failure> {
        let dir = std::path::absolute(dir).map_err(cannot("use", dir))?;
        fs::create_dir_all(&dir).map_err(cannot("make", &dir))?;
        let lock = lock(&dir)?;
        if dir.join("nodes.json").exists() {
            let what = format!("there is a cluster in {} already", dir.display());
            let fix = "give another --state-dir, or end that one with destroy-cluster";
            return Err(Failure::new(what, "nothing was changed", fix).exiting(Exit::Refused));
        }
        let registry = Self { dir, nodes: Vec::new(), _lock: Some(lock) };
        registry.write_secretly("secret", &draw(32)?)?;
        registry.write_secretly("password", &draw(32)?)?;
        registry.save()?;
        Ok(registry)
    }

    /// Replaces the list on disk.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let listed = Listed { schema_version: SCHEMA_VERSION, nodes: self.nodes.clone() };
        let mut text = serde_json::to_string_pretty(&listed).expect("a list of nodes is JSON");
        text.push('\n');
        replace(&self.dir.join("nodes.json"), text.as_bytes())
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file with the cluster's secret.
    pub(super) fn secret_file(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// Where what is of a node lies.
    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.dir.join("nodes").join(id)
    }

    /// A node's settings.
    pub(super) fn config(&self, id: &str) -> PathBuf {
        self.folder(id).join("node.toml")
    }

    /// What a node says.
    pub(super) fn log(&self, id: &str) -> PathBuf {
        self.folder(id).join("log")
    }

    /// The password of this command's own account.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn password(&self) -> Result<String, Failure> {
        let path = self.dir.join("password");
        fs::read_to_string(&path).map_err(cannot("read", &path))
    }

    fn write_secretly(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.dir.join(name);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(cannot("write", &path))
    }

    /// The node whose id begins so, if there is just one.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub(super) fn find(&self, id: &str) -> Result<usize, Failure> {
        let id = id.to_ascii_lowercase();
        let is_it = |(_, entry): &(usize, &Entry)| !id.is_empty() && entry.id.starts_with(&id);
        let found: Vec<usize> =
            self.nodes.iter().enumerate().filter(is_it).map(|(at, _)| at).collect();
        match found[..] {
            [at] => Ok(at),
            _ => {
                let why = format!("{} nodes have an id that begins so", found.len());
                let what = format!("cannot say which node '{id}' is");
                Err(Failure::new(what, why, "see list-nodes").exiting(Exit::Usage))
            }
        }
    }

    /// A new name.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn new_id(&self) -> Result<String, Failure> {
        loop {
            let id = draw(20)?.to_ascii_lowercase();
            if self.nodes.iter().all(|node| !id.starts_with(node.short())) {
                return Ok(id);
            }
        }
    }
}

fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(cannot("write", &path))?;
    file.try_lock().map_err(|error| {
        let what = format!("cannot change {}", dir.display());
        Failure::new(what, error, "wait until the other command has ended").exiting(Exit::Refused)
    })?;
    Ok(file)
}

/// Replaces a file as a whole, durably.
///
/// # Errors
/// What the system says.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("tmp");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(cannot("write", path))
}

/// So many random bytes, as hexadecimal digits.
fn draw(bytes: usize) -> Result<String, Failure> {
    use std::io::Read;
    let mut drawn = vec![0; bytes];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut drawn));
    read.map_err(|error| Failure::new("cannot draw random numbers", error, "see /dev/urandom"))?;
    Ok(drawn.iter().map(|byte| format!("{byte:02X}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry {
        Entry {
            id: id.into(),
            role: Role::Leaf,
            host: "127.0.0.1".into(),
            port: 3306,
            http_port: 23306,
            data: "/data".into(),
            process: Some(Process { pid: 5, started: 77 }),
        }
    }

    /// Promise: what was saved is read; there is one cluster in a directory; who changes it is alone.
    #[test]
    fn what_was_saved_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("state");
        assert_eq!(Registry::open(&dir).expect_err("nothing there").exit, Exit::Usage);
        let mut made = Registry::create(&dir).expect("made");
        made.nodes.push(entry("abc1"));
        made.save().expect("saved");
        assert_eq!(Registry::change(&dir).expect_err("it is being changed").exit, Exit::Refused);
        drop(made);
        assert_eq!(Registry::create(&dir).expect_err("there is one").exit, Exit::Refused);
        let read = Registry::change(&dir).expect("free again");
        assert_eq!(read.nodes, [entry("abc1")]);
        let secret = fs::read_to_string(read.secret_file()).expect("there");
        let password = read.password().expect("there");
        assert!(secret.len() == 64 && password.len() == 64 && secret != password);
    }

    /// Promise: a node is named by the beginning of its id, unless that is of several.
    #[test]
    fn ids_may_be_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut made = Registry::create(&dir.path().join("state")).expect("made");
        made.nodes = vec![entry("abc1"), entry("abd2")];
        assert_eq!(made.find("ABD").expect("one"), 1);
        for wrong in ["ab", "x", ""] {
            assert_eq!(made.find(wrong).expect_err("not one").exit, Exit::Usage);
        }
    }
}
