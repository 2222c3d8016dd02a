//! Every state that three members can reach within bounds, visited one by one.
//!
//! The core is the real one. Around it is all that may happen: a member stands for election
//! whenever it likes, messages arrive in any order, or never, or again; each write becomes durable
//! when it likes, and a crash keeps any number of those that are under way. There is no time: what
//! clocks forbid is allowed here, so what holds here holds with any clocks. That is also why the
//! question before a vote is answered with yes at once, and why no voter protects a leader.
//! Messages that can only make somebody give up are lost (`world.rs` says which).
//!
//! Bounds are on how often somebody stands, proposes or crashes, not on depth: within them the
//! search is complete, and the number of states is printed. Membership, snapshots and reads are not
//! here; they are the simulation's.

#![expect(clippy::print_stdout, reason = "the number of states is worth knowing")]

mod checks;
mod search;
mod world;

use resprout_consensus::testing::Planted;
use stateright::{Checker, HasDiscoveries, Model};

use checks::Broken;
use search::{Bounds, Search};

/// Visits all states, and says how many there were.
fn visit(name: &str, search: Search) {
    let checker = search.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, {depth} deep");
    checker.assert_properties();
}

/// Visits states until the bug shows, and says how.
fn find(planted: Planted, bounds: Bounds) -> Broken {
    let search = Search { planted: Some(planted), ..Search::new(bounds) };
    let checker = search.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    let found = Broken::ALL.into_iter().find_map(|broken| {
        let path = checker.discovery(broken.name())?;
        Some((broken, path.into_actions()))
    });
    let (broken, actions) =
        found.unwrap_or_else(|| panic!("{planted:?} not found: {states} states"));
    println!("{planted:?}: {} after {} steps, {states} states", broken.name(), actions.len());
    broken
}

/// Elections alone: who wins says nothing, so that more of them fit.
const ELECTIONS: Bounds = Bounds { stands: 3, crashes: 1, votes_only: true, ..Bounds::NONE };

/// A leadership and its successor, every write, answer and crash on its own.
const CRASH: Bounds = Bounds { stands: 2, crashes: 1, ..Bounds::NONE };

/// A leadership and its successor, with a proposal at either.
const SUCCESSION: Bounds = Bounds { stands: 2, proposals: 1, prompt: true, ..Bounds::NONE };

/// The paper's figure 8 after its first half: two members have an entry each that reached nobody.
const FIGURE_8: Bounds = Bounds {
    stands: 2,
    prompt: true,
    single_entries: true,
    logs: [&[1, 2], &[1], &[1, 3]],
    ..Bounds::NONE
};

/// Promise: whoever crashes when, with whatever part of its writes, a term has one leader.
#[test]
fn m01_m02_no_term_has_two_leaders() {
    visit("elections", Search::new(ELECTIONS));
}

/// Promise: a crash takes nothing back that was acknowledged, so what is committed stays, and is in
/// the log of every later leader.
#[test]
fn m02_no_crash_takes_back_what_is_committed() {
    visit("crash", Search::new(CRASH));
}

/// Promise: what one leader has committed, and what it has not, the next one settles for all alike.
#[test]
fn no_succession_loses_an_entry() {
    visit("succession", Search::new(SUCCESSION));
}

/// Promise: an entry of an old term is committed only by one of the leader's own.
#[test]
fn m03_figure_8_loses_no_entry() {
    visit("figure 8", Search::new(FIGURE_8));
}

/// Promise: messages that arrive again and again, and late, change nothing that was agreed.
#[test]
fn repeated_messages_are_harmless() {
    visit("repeats", Search::new(Bounds { repeats: true, ..SUCCESSION }));
}

/// Promise: this search finds what it is there to find.
#[test]
fn planted_bugs_are_found() {
    assert_eq!(find(Planted::VoteTwice, ELECTIONS), Broken::TwoLeaders);
    assert_eq!(find(Planted::VoteBeforeFlush, ELECTIONS), Broken::TwoLeaders);
    assert_eq!(find(Planted::CountOldTerm, FIGURE_8), Broken::IncompleteLeader);
    assert_eq!(find(Planted::VoteForShorterLog, SUCCESSION), Broken::IncompleteLeader);
    assert_eq!(find(Planted::AckBeforeFlush, CRASH), Broken::IncompleteLeader);
    assert_eq!(find(Planted::CountSelfBeforeFlush, CRASH), Broken::IncompleteLeader);
}
