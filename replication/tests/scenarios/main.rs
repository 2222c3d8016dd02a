//! Scenarios: copies played step by step, from a file that says what is to come of each step.
//!
//! A file has commands (`commands.rs` is the language), comments that say why, and below each
//! `----` what comes of them: messages, writes, changes of state, and marks of the cores. A message is
//! shown where it is sent, `→` on its way and `↛` lost. `REWRITE=1 cargo test --test scenarios` writes
//! what comes of the commands into the files: the difference is to be read like code.

mod commands;
mod script;
mod show;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use resprout_replication::testing::Planted;

/// One test for each file, of its name.
macro_rules! scenarios {
    ($($(#[doc = $doc:literal])+ #[test] fn $name:ident;)+) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),+];
        $($(#[doc = $doc])+ #[test] fn $name() { script::play(stringify!($name)); })+
    };
}

scenarios! {
    /// Promise: never cut below what is known acknowledged (assertion 7).
    #[test]
    fn a_cut_below_what_was_acknowledged_stops_the_copy;
    /// Promise: half of a group is nothing.
    #[test]
    fn a_group_that_was_never_whole_is_not_kept;
    /// Promise: who changes its role first is not made to wait for who does so second.
    #[test]
    fn a_hello_before_the_record_is_kept;
    /// Promise: one way through all of it.
    #[test]
    fn a_write_is_acknowledged_when_everybody_has_it;
    /// Promise: a database made so is acknowledged by its master alone.
    #[test]
    fn asynchronous_replication_waits_for_nobody;
    /// Promise: a full replica does not stall its master for ever.
    #[test]
    fn d22_a_full_replica_asks_to_leave;
    /// Promise: a slow replica goes by rule 6.
    #[test]
    fn d27_a_slow_replica_is_left_behind_after_a_bound;
    /// Promise: with synchronous durability, every disk is waited for (rule 4).
    #[test]
    fn durable_means_on_every_disk;
    /// Promise: lost and doubled messages change nothing.
    #[test]
    fn gaps_and_repetitions_change_nothing;
    /// Promise: stall, publish, go on (rule 6).
    #[test]
    fn n03_a_replica_that_was_taken_out_is_not_waited_for;
    /// Promise: late messages prove nothing.
    #[test]
    fn n09_late_messages_of_an_older_stream_are_dropped;
    /// Promise: sync membership belongs to a run (rule 15).
    #[test]
    fn p06_another_run_is_not_counted_until_it_is_taken_in_anew;
    /// Promise: a restart ends a mastership (rule 14).
    #[test]
    fn p07_a_master_that_restarts_is_none;
    /// Promise: first proof of a newer term ends a mastership (rule 11).
    #[test]
    fn p09_a_zombie_hears_of_it_from_a_peer;
    /// Promise: progress belongs to a stream.
    #[test]
    fn r01_an_acknowledgement_of_an_earlier_run_does_not_count;
    /// Promise: progress belongs to a term.
    #[test]
    fn r02_an_acknowledgement_of_an_older_term_does_not_count;
    /// Promise: a master blocks and asks until it is answered (rule 6).
    #[test]
    fn r03_a_lost_answer_is_asked_for_again;
    /// Promise: of two changes at one version, one applies.
    #[test]
    fn r04_a_demotion_loses_against_a_promotion;
    /// Promise: wait first, publish after; repeat until answered (rules 5, 7).
    #[test]
    fn r05_a_publication_is_finished_by_repeating;
    /// Promise: no way back and nothing visible behind the append (rule 13).
    #[test]
    fn r07_r08_r15_nothing_is_seen_or_taken_back_before_it_is_acknowledged;
    /// Promise: an unacknowledged tail is cut and stays away (rule 16).
    #[test]
    fn r09_an_old_master_comes_back_with_a_tail;
    /// Promise: cut by history, not by watermark (rule 16).
    #[test]
    fn r10_the_cut_is_by_history_not_by_what_is_known_committed;
    /// Promise: everybody becomes what the master is.
    #[test]
    fn r11_three_copies_become_the_new_masters_history;
    /// Promise: a fenced master acknowledges nothing (rule 11).
    #[test]
    fn r12_a_fenced_master_acknowledges_nothing;
    /// Promise: a fenced replica acknowledges nothing (rule 2).
    #[test]
    fn r12_fencing_begins_when_it_is_heard;
    /// Promise: a reported position does not move (rule 9).
    #[test]
    fn r13_a_position_is_reported_when_nothing_is_on_its_way;
    /// Promise: chosen is not writable (rule 10).
    #[test]
    fn r14_not_writable_before_the_term_has_begun;
    /// Promise: who is behind the log gets pages, those that differ only.
    #[test]
    fn r16_a_copy_behind_the_log_gets_the_pages_that_differ;
    /// Promise: fetching is resumed, not begun anew.
    #[test]
    fn r17_a_hold_keeps_the_place_of_a_copy_that_fetches;
    /// Promise: a copy that has nothing gets pages in order, and no digests (R16).
    #[test]
    fn r16_a_copy_that_has_nothing_gets_plain_pages;
    /// Promise: a copy that has nothing gets pages in order, and goes on behind a lost connection (R16, R17).
    #[test]
    fn r17_plain_pages_go_on_where_they_were_lost;
    /// Promise: a new master keeps its whole log (rule 10).
    #[test]
    fn r19_what_the_old_master_shipped_is_kept;
    /// Promise: a replica shows whole groups in order.
    #[test]
    fn r22_readers_of_a_replica_see_whole_groups_in_order;
    /// Promise: silent divergence is found when copies meet.
    #[test]
    fn r23_chains_that_differ_are_found;
    /// Promise: broken metadata stop a copy (rule 2).
    #[test]
    fn two_masters_in_one_term_stop_the_copy;
    /// Promise: flow control by credit.
    #[test]
    fn what_waits_on_a_slow_replica_is_bounded;
    /// Promise: silence changes no role (rule 1).
    #[test]
    fn a_silent_master_is_greeted_anew;
    /// Promise: damage of another copy is not taken.
    #[test]
    fn d26_a_frame_that_does_not_continue_the_log_is_not_taken;
    /// Promise: an image is put in place whole or not at all.
    #[test]
    fn d32_an_image_replaces_what_is_here_when_it_is_whole;
    /// Promise: what is late, astray or of strangers changes nothing.
    #[test]
    fn late_and_stray_messages_change_nothing;
    /// Promise: only a later record ends a publication (rules 5, 7).
    #[test]
    fn r05_a_publication_that_may_be_under_way_is_waited_for;
    /// Promise: a publication is asked for until it is answered (rule 7).
    #[test]
    fn a_publication_that_lost_is_asked_for_anew;
    /// Promise: a copy is cut only where it is what its master is.
    #[test]
    fn r09_a_tail_on_a_damaged_log_needs_pages;
    /// Promise: pages are offered in mid-stream, until they are heard of.
    #[test]
    fn r16_a_copy_that_falls_behind_in_mid_stream;
    /// Promise: a read that comes too late leads to pages.
    #[test]
    fn r16_the_arena_lost_what_was_asked_for;
    /// Promise: holds are bounded.
    #[test]
    fn r17_d35_an_image_that_nobody_fetches_is_given_up;
    /// Promise: an older image does not take anything back.
    #[test]
    fn r16_frames_overtake_an_offer_of_pages;
    /// Promise: a master that the record does not have any more is fenced by it, and its writers hear so.
    #[test]
    fn r12_a_master_that_left_the_record_is_fenced;
    /// Promise: pages take no more than their share, and never stand still.
    #[test]
    fn r16_pages_go_at_the_rate_that_is_told;
    /// Promise: the same for the log, and however much is written, a copy gains on it.
    #[test]
    fn r16_the_log_goes_at_the_rate_that_is_told;
    /// Promise: an orderly stop stalls nobody.
    #[test]
    fn p08_a_replica_that_stops_says_so;
    /// Promise: a database that is altered is acknowledged by the record that its master heard (rule 6).
    #[test]
    fn a_database_stops_waiting_when_the_record_says_so;
    /// Promise: a change of replication makes void what was asked for before it.
    #[test]
    fn what_was_asked_in_another_mode_is_void;
    /// Promise: reads go by who may be promoted, not by what was heard of it (rule 12).
    #[test]
    fn r05_a_lease_ends_where_a_publication_may_be_under_way;
}

/// Promise: every file is played.
#[test]
fn every_file_is_played() {
    let files = fs::read_dir(script::dir()).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.extension().is_some_and(|end| end == "txt"));
    let found: BTreeSet<String> =
        texts.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let played: BTreeSet<String> = SCENARIOS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, played);
}

/// Bugs that only the simulation finds: the choice of a master is not played here.
const OF_THE_AUTHORITY: [Planted; 1] = [Planted::ChooseAnyCopy];

/// Promise: the scenarios tell a core with a bug from one without.
#[test]
fn every_planted_bug_is_noticed() {
    let seen = |bug: &Planted| SCENARIOS.iter().any(|name| script::notices(name, *bug));
    let wanted = Planted::ALL.into_iter().filter(|bug| !OF_THE_AUTHORITY.contains(bug));
    let missed: Vec<Planted> = wanted.filter(|bug| !seen(bug)).collect();
    assert!(missed.is_empty(), "no scenario notices {missed:?}");
}

/// Promise: every mark of the cores is passed in a scenario that explains it.
#[test]
fn every_mark_is_explained() {
    let mut marks = BTreeSet::new();
    marks_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut marks);
    assert!(marks.len() > 20, "{marks:?}");
    let mut explained = BTreeSet::new();
    for name in SCENARIOS {
        let path = script::dir().join(name).with_extension("txt");
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("mark "));
        explained.extend(lines.map(str::to_owned));
    }
    let missing: Vec<&String> = marks.difference(&explained).collect();
    assert!(missing.is_empty(), "no scenario passes {missing:?}");
}

fn marks_below(dir: &Path, marks: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder of source") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            marks_below(&path, marks);
        } else {
            let text = fs::read_to_string(path).expect("text");
            let calls = text.split(".mark(").chain(text.split(".leave(instance,")).skip(1);
            let names =
                calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
            marks.extend(names.map(str::to_owned));
        }
    }
}
