//! Every decoder of Resprout as a fuzz target: bytes from a disk, a file or a person lead to an
//! answer or an error, never to a panic, a large allocation or a wrong answer (promises A8 and
//! A10, rows S20 and S21 of the reliability catalogue).
//!
//! ```text
//!   corpus/<target>/*  ─► mutate ─► seal (checksums made right again) ─► run ─► Accepted │ Refused
//!                            │                                            └ panics if a promise breaks
//!                            └► honest (checksums left as they fell): what is answered is the truth
//! ```
//!
//! Two front ends use the same functions: `tests/bounded.rs`, an ordinary test on the stable
//! toolchain with fixed seeds, and `fuzz_targets/`, shims for `cargo fuzz`. See `README.md`.

pub mod bundle;
pub mod mutate;
pub mod seeds;

mod directory;
mod log;
mod page;
mod protocol;
mod record;
mod seal;
mod snapshot;
mod statement;
mod table;
mod wire;

/// What a decoder said to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It decoded something, and everything that must then hold was checked.
    Accepted,
    /// It said no.
    Refused,
}

impl Outcome {
    fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// One decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its corpus folder and of its shim.
    pub name: &'static str,
    /// Decodes an input and checks what must hold for any bytes at all.
    ///
    /// # Panics
    /// If a promise is broken.
    pub run: fn(&[u8]) -> Outcome,
    /// Makes the checksums of an input right, so that mutants get past them.
    pub seal: Option<fn(&mut Vec<u8>)>,
    /// Checks what must hold for a seed that was damaged without making checksums right: what is
    /// answered is what the seed held. Of no use to a fuzzer that can forge checksums.
    ///
    /// # Panics
    /// If an answer is wrong.
    pub honest: Option<fn(&[u8])>,
    /// Mutants in a usual bounded run: more where one costs less.
    pub mutants: u64,
}

const fn plain(name: &'static str, run: fn(&[u8]) -> Outcome, mutants: u64) -> Target {
    Target { name, run, seal: None, honest: None, mutants }
}

const fn sealed(
    name: &'static str,
    run: fn(&[u8]) -> Outcome,
    seal: fn(&mut Vec<u8>),
    mutants: u64,
) -> Target {
    Target { name, run, seal: Some(seal), honest: None, mutants }
}

const TARGETS: &[Target] = &[
    sealed("frame", log::frame, seal::frame, 200_000),
    sealed("slot_header", log::slot_header, seal::slot_header, 100_000),
    sealed("mark", log::mark, seal::mark, 100_000),
    sealed("superblock", log::superblock, seal::superblock, 100_000),
    Target { honest: Some(log::arena_honest), ..sealed("arena", log::arena, seal::arena, 1000) },
    sealed("snapshot", snapshot::file, seal::snapshot, 10_000),
    plain("leaf", page::leaf, 15_000),
    plain("row", table::row, 400_000),
    plain("key", table::key, 300_000),
    plain("schema", table::schema, 60_000),
    plain("text", table::text, 200_000),
    plain("inference", table::inference, 100_000),
    plain("statement", statement::text, 60_000),
    plain("record", record::record, 400_000),
    plain("prepared", record::prepared, 300_000),
    sealed("identity", directory::identity, seal::identity, 40_000),
    sealed("manifest", directory::manifest, seal::manifest, 60_000),
    sealed("accounts", directory::accounts, seal::manifest, 100_000),
    Target {
        honest: Some(directory::whole_honest),
        ..sealed("directory", directory::whole, seal::directory, 400)
    },
    sealed("raft_message", wire::message, seal::wire, 400_000),
    sealed("raft_handshake", wire::handshake, seal::wire, 200_000),
    plain("protocol", protocol::session, 200_000),
];

/// All targets.
#[must_use]
pub fn targets() -> &'static [Target] {
    TARGETS
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs a target on an input as it is, and once more with its checksums made right: for a fuzzer
/// that learns from what code is reached.
///
/// # Panics
/// If a promise is broken, or there is no such target.
pub fn run_sealed(name: &str, input: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("no target is called {name}"));
    (target.run)(input);
    if let Some(seal) = target.seal {
        let mut sealed = input.to_vec();
        seal(&mut sealed);
        (target.run)(&sealed);
    }
}

/// Splits the first eight bytes off, for targets whose decoder takes a number beside the bytes.
fn number_and_rest(input: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = input.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}
