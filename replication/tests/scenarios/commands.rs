//! The command language: one line, one thing that happens.
//!
//! | command | |
//! |---|---|
//! | `copies 1 2 3` | copies with empty logs start |
//! | `mode received`, `limit name=value` | settings of copies that start later |
//! | `decide 2.5 n1 sync n1 n2 async n3` | the record of term 2, version 5; `-` for no master |
//! | `tell n1 …` | hands the record over, to all if nobody is named |
//! | `answer`, `lose` | the authority takes the first request, or it is lost |
//! | `write n1 7 8` | one group at a master, a frame for each value |
//! | `deliver`, `deliver n1 n2`, `drop n1 n2`, `keep n1 n2`, `late`, `late 1` | messages: all, the first of a link, lost, put aside, all or so many of them handed over late |
//! | `cut n1 n2`, `mend` | links, both ways |
//! | `disk n1 slow`, `disk n1 fast`, `flush n1` | whether a disk waits to be told; one operation |
//! | `crash n1`, `start n1` | processes |
//! | `full n1`, `space n1` | devices |
//! | `stop n1` | an orderly stop begins |
//! | `misroute n1 n2 n3` | the first message of a link arrives at another copy |
//! | `flush n1 promise` | a promise is on the disk before what the log has to write |
//! | `tell-before n1` | hands over the record that was decided before |
//! | `trim n1`, `trim n1 silently` | the log before what is shown is given up; the core does not know yet |
//! | `damage n1 last`, `damage n1 earlier` | the last frame on the disk, or the one before, is another one |
//! | `damage n1 read` | the frame before the last is read as another one |
//! | `tick n1` | a copy wakes, and nothing is delivered |
//! | `spoil n1` | pages that were stored beside are gone |
//! | `pass 100ms` | time |
//! | `status n1`, `rows n1`, `lease n1` | what is known, what readers see and for how long |
//! | `quiet`, `loud` | whether things are shown |

use std::time::Duration;

use resprout_replication::{
    Cfg, CopyRecord, CopyState, Decided, Event, Incarnation, Instance, Mode, Record, Stamp, State,
};
use resprout_wal::Term;

use crate::show;
use crate::world::{Node, World};

/// Runs one line.
pub(crate) fn run(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, rest) = words.split_first().expect("a line that is not empty");
    if setup(world, name, rest) || network(world, name, rest) || node_command(world, name, rest) {
        return;
    }
    panic!("{}: no such command: {line}", world.at);
}

fn number(word: &str) -> u64 {
    let digits = word.strip_prefix('n').unwrap_or(word);
    digits.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn setup(world: &mut World, name: &str, words: &[&str]) -> bool {
    match (name, words) {
        ("copies", _) => {
            for word in words {
                world.nodes.insert(number(word), Node::default());
                world.start(number(word));
            }
        }
        ("mode", [mode]) => {
            world.config.mode = match *mode {
                "received" => Mode::Received,
                "durable" => Mode::Durable,
                "local" => Mode::Local,
                other => panic!("{}: no such mode: {other}", world.at),
            };
        }
        ("limit", [value]) => {
            let (name, value) = value.split_once('=').expect("name=value");
            let limits = &mut world.config.limits;
            let small = u32::try_from(number(value)).expect("small");
            match name {
                "batch_bytes_max" => limits.batch_bytes_max = number(value),
                "recent_bytes_max" => limits.recent_bytes_max = number(value),
                "inflight_bytes_max" => limits.inflight_bytes_max = number(value),
                "window_bytes" => limits.window_bytes = number(value),
                "pages_max" => limits.pages_max = small,
                "digests_max" => limits.digests_max = small,
                "pages_per_beat" => limits.pages_per_beat = small,
                "admit_lag_bytes" => limits.admit_lag_bytes = number(value),
                other => panic!("{}: no such limit: {other}", world.at),
            }
        }
        ("decide", [version, master, states @ ..]) => decide(world, version, master, states),
        ("answer", []) => answer(world),
        ("lose", []) => {
            let request = world.requests.pop_front();
            world.say(format!("lost: {}", request.map_or_else(String::new, |r| show::request(&r))));
        }
        ("quiet", []) => world.quiet = true,
        ("loud", []) => world.quiet = false,
        _ => return false,
    }
    true
}

/// Runs that the record names: those of now.
fn decide(world: &mut World, version: &str, master: &str, states: &[&str]) {
    let (term, cfg) = version.split_once('.').expect("term.cfg");
    let mut record = Record {
        term: Term(number(term)),
        cfg: Cfg(number(cfg)),
        master: (master != "-").then(|| Instance(number(master))),
        ..Record::default()
    };
    let mut state = CopyState::Sync;
    for word in states {
        match *word {
            "sync" => state = CopyState::Sync,
            "async" => state = CopyState::Async,
            "received" => record.mode = Some(Mode::Received),
            "local" => record.mode = Some(Mode::Local),
            copy => {
                let incarnation = Incarnation(world.node(number(copy)).incarnation);
                record.copies.insert(Instance(number(copy)), CopyRecord { state, incarnation });
            }
        }
    }
    commit(world, record);
}

fn commit(world: &mut World, record: Record) {
    let stamp = Stamp { term: 1, index: world.decided.stamp.index + 1 };
    world.say(format!("decided: {}", show::record(&record)));
    world.before = world.decided.clone();
    world.decided = Decided { stamp, record };
}

fn answer(world: &mut World) {
    let request = world.requests.pop_front().unwrap_or_else(|| panic!("{}: no request", world.at));
    match world.decided.record.after(&request) {
        Some(record) => commit(world, record),
        None => world.say(format!("refused: {}", show::request(&request))),
    }
}

fn network(world: &mut World, name: &str, words: &[&str]) -> bool {
    let links = |words: &[&str]| (number(words[0]), number(words[1]));
    match (name, words.len()) {
        ("deliver", 0) => world.settle(),
        ("deliver", 2) => {
            let place = place(world, links(words));
            world.deliver(place);
        }
        ("drop", 2) => {
            let place = place(world, links(words));
            let lost = world.network.remove(place);
            world.say(format!("lost: {}", show::envelope(&lost, "↛")));
        }
        ("keep", 2) => {
            let place = place(world, links(words));
            let kept = world.network.remove(place);
            world.say(format!("late: {}", show::envelope(&kept, "…")));
            world.kept.push(kept);
        }
        ("late", 0 | 1) => {
            let all = world.kept.len();
            let count = words.first().map_or(all, |word| number(word) as usize);
            let kept: Vec<_> = world.kept.drain(..count).collect();
            world.network.splice(0..0, kept);
            world.settle();
        }
        ("misroute", 3) => {
            let place = place(world, links(words));
            let astray = world.network.remove(place);
            world.say(format!("astray: {}", show::envelope(&astray, "→")));
            world.step(number(words[2]), Event::Receive(astray));
        }
        ("cut", 2) => {
            let (one, other) = links(words);
            world.cuts.extend([(one, other), (other, one)]);
        }
        ("mend", 0) => world.cuts.clear(),
        ("pass", 1) => {
            let digits = words[0].strip_suffix("ms").expect("a time in ms");
            world.pass(Duration::from_millis(number(digits)));
        }
        _ => return false,
    }
    true
}

fn place(world: &World, link: (u64, u64)) -> usize {
    let is_of = |envelope: &resprout_replication::Envelope| {
        (envelope.from.instance.0, envelope.to.0) == link
    };
    let found = world.network.iter().position(is_of);
    found.unwrap_or_else(|| panic!("{}: nothing is under way on {link:?}", world.at))
}

fn node_command(world: &mut World, name: &str, words: &[&str]) -> bool {
    if name == "tell" {
        tell(world, words);
        return true;
    }
    let Some((id, rest)) = words.split_first() else { return false };
    let id = number(id);
    match (name, rest) {
        ("write", values) => write(world, id, values),
        ("disk", ["slow"]) => world.node(id).slow = true,
        ("disk", ["fast"]) => {
            world.node(id).slow = false;
            world.settle_disk(id);
        }
        ("flush", ["promise"]) => {
            world.say(format!("n{id} has flushed its promise"));
            world.flush_promise(id);
        }
        ("flush", []) => {
            world.say(format!("n{id} has flushed"));
            world.flush_one(id);
        }
        ("crash", []) => world.crash(id),
        ("start", []) => {
            world.say(format!("n{id} starts"));
            world.start(id);
        }
        ("connected", [other]) => {
            let other = Instance(number(other));
            world.step(id, Event::Connected(other));
        }
        ("full", []) => world.step(id, Event::Full),
        ("stop", []) => world.step(id, Event::Stopping),
        ("space", []) => world.step(id, Event::SpaceBack),
        ("rate", [bytes]) => {
            world.step(id, Event::CatchUpRate { bytes_per_beat: number(bytes) });
        }
        ("trim", [] | ["silently"]) => {
            let node = world.node(id);
            let to = node.visible;
            node.log.trim(to);
            node.disk.trim(to);
            if *rest != ["silently"] {
                world.step(id, Event::Trimmed(to));
            }
        }
        ("damage", ["last"]) => world.node(id).disk.damage(1),
        ("damage", ["read"]) => world.node(id).log.damage(2),
        ("damage", ["earlier"]) => world.node(id).disk.falsify(2),
        ("tick", []) => {
            let deadline = world.node(id).copy.as_ref().expect("it runs").deadline();
            world.now = world.now.max(deadline);
            world.step(id, Event::Tick);
        }
        ("spoil", []) => world.node(id).stored.clear(),
        ("tell-before", []) => {
            let before = world.before.clone();
            world.say(format!("n{id} is told {}.{}", before.record.term, before.record.cfg));
            world.step(id, Event::Record(before));
        }
        _ => return look(world, name, words),
    }
    true
}

/// What is known of a copy.
fn look(world: &mut World, name: &str, words: &[&str]) -> bool {
    let [id] = words else { return false };
    let id = number(id);
    match name {
        "status" => {
            let line = show::status(world.node(id));
            world.say(format!("n{id} {line}"));
        }
        "lease" => {
            let lease = world.node(id).master().and_then(resprout_replication::Master::lease);
            let until = match lease {
                Some(Duration::MAX) => "for ever".to_owned(),
                Some(until) => format!("until {} ms", until.as_millis()),
                None => "nothing".to_owned(),
            };
            world.say(format!("n{id} may serve reads {until}"));
        }
        "rows" => {
            let node = world.node(id);
            let rows = node.log.rows_at(node.visible);
            world.say(format!("n{id} shows rows {rows:?}"));
        }
        _ => return false,
    }
    true
}

fn tell(world: &mut World, words: &[&str]) {
    let all: Vec<u64> = world.nodes.keys().copied().collect();
    let named: Vec<u64> = words.iter().map(|word| number(word)).collect();
    for id in if named.is_empty() { all } else { named } {
        world.say(format!(
            "n{id} is told {}.{}",
            world.decided.record.term, world.decided.record.cfg
        ));
        let decided = world.decided.clone();
        world.step(id, Event::Record(decided));
        world.settle_disk(id);
    }
}

fn write(world: &mut World, id: u64, values: &[&str]) {
    let values: Vec<u64> = values.iter().map(|value| number(value)).collect();
    let node = world.node(id);
    let State::Online(term) = node.state else {
        world.say(format!("n{id} refuses to write {values:?}"));
        return;
    };
    let committed = node.visible;
    let frames = node.log.group(term, &values, committed);
    world.say(format!("n{id} writes {values:?}"));
    world.append(id, frames);
}
