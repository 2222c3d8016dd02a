//! A leaf whose disk runs full while clients write, and has room again later: a real disk of its own, an ext4 image on a loop
//! device. Needs root.

mod support;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use support::cluster::{Cluster, PATIENCE, Shape, connect, until};
use support::directory;

const SHAPE: Shape = Shape { voters: 1, leaves: 2, redundancy: 2 };
const IMAGE_BYTES: u64 = 768 << 20;
/// Of a row, about.
const ROW_BYTES: usize = 60_000;
/// So many rows go on being taken by partitions whose master is elsewhere.
const GO_ON: usize = 50;

/// MySQL's number for it.
const DISK_FULL: u16 = 1021;

/// A disk that is mounted.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Makes one and mounts it there, or says why the test is skipped.
    fn or_skip(test: &str, dir: &Path, at: PathBuf) -> Option<Self> {
        let why = match Self::mount(dir, &at) {
            Ok(()) => return Some(Self { at }),
            Err(why) => why,
        };
        // Past the harness, which keeps what a test that passes prints.
        let said = writeln!(std::io::stderr(), "skipped: {test}: {why}");
        // Without stderr nobody can be told.
        drop(said);
        None
    }

    fn mount(dir: &Path, at: &Path) -> Result<(), String> {
        let image = dir.join("image");
        let sized = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        sized.map_err(|error| error.to_string())?;
        std::fs::create_dir(at).map_err(|error| error.to_string())?;
        quiet(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        quiet(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at))
    }

    /// Takes all room that is left; gives the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut filler = File::create(&path).expect("a file");
        let piece = vec![1; 64 << 10];
        while filler.write_all(&piece).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A mount that stays behind is told by `mount`; there is nobody here to tell.
        let _still_there = quiet(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

/// Numbered rows, and which of them were acknowledged.
struct Writer {
    conn: Conn,
    next: usize,
    acknowledged: Vec<usize>,
}

impl Writer {
    /// Inserts the next row; if it is refused, the number of the error.
    async fn insert(&mut self) -> Option<u16> {
        let id = self.next;
        self.next += 1;
        let insert = format!("INSERT INTO d.t VALUES ({id}, REPEAT('x', {ROW_BYTES}))");
        match self.conn.query_drop(insert).await {
            Ok(()) => {
                self.acknowledged.push(id);
                None
            }
            Err(Error::Server(refused)) => Some(refused.code),
            Err(other) => panic!("row {id}: {other}"),
        }
    }

    /// Checks that what was acknowledged is there, and nothing else.
    async fn check(&mut self) {
        let found: Vec<usize> =
            self.conn.query("SELECT id FROM d.t ORDER BY id").await.expect("read");
        assert_eq!(found, self.acknowledged);
    }
}

/// Promise (D22): while a leaf's disk is full, its masters refuse what there is no room for and say why, nothing of it is there,
/// and masters elsewhere go on without its copies. When there is room again, all go on, and the copies are brought up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d22_a_leaf_whose_disk_is_full_refuses_and_others_go_on() {
    let dir = directory();
    let small = SHAPE.voters + 1;
    let at = dir.path().join(format!("node-{small}"));
    let Some(disk) = Disk::or_skip("the full disk of a leaf", dir.path(), at) else { return };
    let mut cluster = Cluster::start(dir.path(), SHAPE);
    cluster.join().await;
    let mut conn = connect(&cluster.doors()).await;
    conn.query_drop("CREATE DATABASE d PARTITIONS 4").await.expect("made");
    conn.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY, pad MEDIUMTEXT)").await.expect("made");
    cluster.whole("d").await;
    let mut writer = Writer { conn, next: 0, acknowledged: Vec::new() };
    assert_eq!(writer.insert().await, None);

    let filler = disk.fill();
    let end = std::time::Instant::now() + PATIENCE;
    let (mut refused, mut since) = (0, 0);
    while refused == 0 || since < GO_ON {
        assert!(std::time::Instant::now() < end, "refused {refused}, taken since {since}");
        match writer.insert().await {
            None => since += usize::from(refused > 0),
            Some(code) => {
                assert_eq!(code, DISK_FULL);
                refused += 1;
            }
        }
    }
    writer.check().await;

    std::fs::remove_file(filler).expect("removed");
    until("all partitions take rows again", async || {
        for _ in 0..GO_ON {
            if writer.insert().await.is_some() {
                return false;
            }
        }
        true
    })
    .await;
    cluster.whole("d").await;
    writer.check().await;
    cluster.end();
    drop(disk);
}
