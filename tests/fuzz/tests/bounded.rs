//! Fuzzing as an ordinary test: every target, mutants by fixed numbers, within a bound of time.
//!
//! `RESPROUT_FUZZ_SECONDS=60` goes on for that long per target with further numbers, from
//! `RESPROUT_FUZZ_FIRST=<number>` on; `RESPROUT_FUZZ_MUTANT=<number>` runs one of them again, and
//! `RESPROUT_FUZZ_INPUT=<file>` any input.

#![expect(clippy::print_stdout, reason = "a test says what it did and how to replay it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use resprout_fuzz::mutate::mutant;
use resprout_fuzz::{Outcome, Target, seeds, target, targets};

/// Time after which a usual run of one target stops, also if numbers are left: a slow machine
/// must not hang on it.
const USUAL_LIMIT: Duration = Duration::from_secs(8);
/// No request for memory above this, whatever the input says (promise A10, row D05).
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// And none above this plus so many times the input.
const REQUEST_BYTES_BASE: usize = 4 << 20;
const REQUEST_FACTOR: usize = 64;
/// All requests of one run together, beside twice the factor.
const TOTAL_BYTES_BASE: usize = 256 << 20;

/// Bytes of a failing input that are printed; the file has all.
const SHOWN_BYTES_MAX: usize = 2048;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static TOTAL: Cell<usize> = const { Cell::new(0) };
}

/// Remembers what each thread asks for.
struct Counting;

fn note(bytes: usize) {
    // A thread that ends has no cells any more; nobody asks about it either.
    let _gone = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
    let _gone = TOTAL.try_with(|total| total.set(total.get().saturating_add(bytes)));
}

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The committed seeds of a target, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder(target)).expect("a corpus folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("a readable seed"))
    };
    paths.into_iter().map(read).collect()
}

/// Runs a function on an input; panics with its cause and how to replay it.
fn guarded<T>(target: &Target, name: &str, input: &[u8], run: impl FnOnce(&[u8]) -> T) -> T {
    LARGEST.set(0);
    TOTAL.set(0);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(input)));
    let (largest, total) = (LARGEST.get(), TOTAL.get());
    let bound = REQUEST_BYTES_MAX.min(REQUEST_BYTES_BASE + REQUEST_FACTOR * input.len());
    let bound_total = TOTAL_BYTES_BASE + 2 * REQUEST_FACTOR * input.len();
    let greedy = largest > bound || total > bound_total;
    match ran {
        Ok(outcome) if !greedy => outcome,
        ran => {
            if ran.is_ok() {
                println!("asked for {largest} bytes at once, {total} in all, at most {bound}");
            }
            fail(target, name, input)
        }
    }
}

fn fail(target: &Target, name: &str, input: &[u8]) -> ! {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.input", target.name));
    std::fs::write(&file, input).expect("room for the input");
    let shown = &input[..input.len().min(SHOWN_BYTES_MAX)];
    let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if shown.len() < input.len() { "..." } else { "" };
    println!("input: {} bytes, in {}: {hex}{more}", input.len(), file.display());
    let variable = match name.parse::<u64>() {
        Ok(number) => format!("RESPROUT_FUZZ_MUTANT={number}"),
        Err(_) => format!("RESPROUT_FUZZ_INPUT={}", file.display()),
    };
    println!(
        "replay: {variable} cargo test -p resprout-fuzz --test bounded {} -- --exact",
        target.name
    );
    panic!("{}: {name}", target.name)
}

/// How many of each there were.
#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
}

/// The mutant of this number: every second one is sealed, where the target has checksums.
fn one(target: &Target, corpus: &[(String, Vec<u8>)], number: u64, counts: &mut Counts) {
    let seed = &corpus[(number % corpus.len() as u64) as usize].1;
    let other = &corpus[(number / 7 % corpus.len() as u64) as usize].1;
    let mut input = mutant(number, seed, other);
    let sealed = target.seal.filter(|_| (number / corpus.len() as u64).is_multiple_of(2));
    if let Some(seal) = sealed {
        guarded(target, &number.to_string(), &input.clone(), |_| seal(&mut input));
    } else if let Some(honest) = target.honest {
        guarded(target, &number.to_string(), &input, honest);
    }
    match guarded(target, &number.to_string(), &input, target.run) {
        Outcome::Accepted => counts.accepted += 1,
        Outcome::Refused => counts.refused += 1,
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

fn fuzz(name: &str) {
    let target = target(name).expect("a target of this name");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "a target without seeds tests nothing");
    let mut counts = Counts::default();
    if let Some(number) = number_from("RESPROUT_FUZZ_MUTANT") {
        return one(target, &corpus, number, &mut counts);
    }
    if let Some(file) = std::env::var_os("RESPROUT_FUZZ_INPUT") {
        let input = std::fs::read(&file).expect("the file of RESPROUT_FUZZ_INPUT");
        println!("{name}: {:?}", guarded(target, "input", &input, target.run));
        return;
    }
    for (name, seed) in &corpus {
        assert_eq!(guarded(target, name, seed, target.run), Outcome::Accepted, "seed {name}");
        if let Some(honest) = target.honest {
            guarded(target, name, seed, honest);
        }
    }
    let asked = number_from("RESPROUT_FUZZ_SECONDS").map(Duration::from_secs);
    let (begun, limit) = (Instant::now(), asked.unwrap_or(USUAL_LIMIT));
    let first = number_from("RESPROUT_FUZZ_FIRST").unwrap_or(0);
    let mut number = first;
    while (asked.is_some() || number < first + target.mutants) && begun.elapsed() < limit {
        one(target, &corpus, number, &mut counts);
        number += 1;
    }
    println!("{name}: {} mutants in {:?}: {counts:?}", number - first, begun.elapsed());
    assert!(counts.accepted > 0 && counts.refused > 0, "mutants of one kind: {counts:?}");
}

/// One test per target, and a list of them.
macro_rules! fuzzed {
    ($($name:ident),* $(,)?) => {
        $(
            /// Promises A8, A10 (rows S20, S21): no bytes lead to a panic, a large request for
            /// memory, or a wrong answer.
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*

        /// Guards: no target is forgotten here.
        #[test]
        fn every_target_is_fuzzed() {
            let names: Vec<_> = targets().iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

fuzzed!(
    frame,
    slot_header,
    mark,
    superblock,
    arena,
    snapshot,
    leaf,
    row,
    key,
    schema,
    text,
    inference,
    statement,
    record,
    prepared,
    identity,
    manifest,
    accounts,
    directory,
    raft_message,
    raft_handshake,
    protocol,
);

/// Targets whose seeds also follow from when the programs write what (marks, the fill of pages):
/// there only the corpus in the repository counts, as something that every later program reads.
const OF_BEHAVIOUR: [&str; 6] = ["slot_header", "mark", "arena", "leaf", "identity", "directory"];

/// Guards: the corpus is what the programs write today; a difference means that a format has
/// changed. Files beside the written seeds, such as inputs that once failed, may be there.
#[test]
fn the_corpus_is_what_is_written() {
    let write = std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some();
    for target in targets() {
        for (name, seed) in seeds::seeds(target.name) {
            let path = folder(target).join(&name);
            if write {
                std::fs::create_dir_all(folder(target)).expect("a folder");
                std::fs::write(&path, &seed).expect("a seed");
            }
            let kept = std::fs::read(&path).expect("a seed of the corpus");
            let same = kept == seed || OF_BEHAVIOUR.contains(&target.name);
            assert!(same, "{}/{name} differs", target.name);
        }
    }
}
