//! Scenarios: a cluster played step by step, from a file that says what is to come of each step.
//!
//! A file has commands (`commands.rs` is the language), comments that say why, and below each
//! `----` what comes of them: messages, writes, changes of state, and marks of the core. A message
//! is shown where it is sent, `→` on its way and `↛` lost; `durable` parts what goes out at once
//! from what waited for the medium. `REWRITE=1 cargo test --test scenarios` writes what comes of
//! the commands into the files: the difference is to be read like code.

mod commands;
mod forge;
mod script;
mod show;
mod store;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use resprout_consensus::testing::Planted;

/// One test for each file, of its name.
macro_rules! scenarios {
    ($($(#[doc = $doc:literal])+ #[test] fn $name:ident;)+) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),+];
        $($(#[doc = $doc])+ #[test] fn $name() { script::play(stringify!($name)); })+
    };
}

scenarios! {
    /// Promise: one way through all of it: asked, voted for, elected, committed, told.
    #[test]
    fn an_election_and_a_proposal;
    /// Promise: a candidate of an older term gets no vote (figure 2, RequestVote 1).
    #[test]
    fn vote_1_an_older_candidate_is_refused;
    /// Promise: one vote in a term, also over a restart (figure 2, RequestVote 2).
    #[test]
    fn vote_2_one_vote_in_a_term;
    /// Promise: no vote for whoever lacks entries (figure 2, RequestVote 2).
    #[test]
    fn vote_2_no_vote_for_a_shorter_log;
    /// Promise: one node begins alone, others join, and when it is gone another has everything.
    #[test]
    fn others_join_the_first;
    /// Promise: an older leader's entries are not taken (figure 2, AppendEntries 1).
    #[test]
    fn append_1_an_older_leader_is_told;
    /// Promise: no entry without the one before it (figure 2, AppendEntries 2).
    #[test]
    fn append_2_without_the_entry_before_it_is_rejected;
    /// Promise: what differs from the leader's log goes (figure 2, AppendEntries 3 and 4).
    #[test]
    fn append_3_and_4_what_differs_goes;
    /// Promise: a message that was overtaken takes nothing back.
    #[test]
    fn append_4_an_old_message_takes_nothing_back;
    /// Promise: no commit beyond what is known to match (figure 2, AppendEntries 5).
    #[test]
    fn append_5_commits_what_matches_only;
    /// Promise: whatever a follower's log holds, it becomes the leader's (figure 7).
    #[test]
    fn figure_7_all_logs_become_the_leaders;
    /// Promise: term and vote are one record.
    #[test]
    fn m01_term_and_vote_are_one_record;
    /// Promise: nothing is promised before it is durable.
    #[test]
    fn m02_votes_and_acks_wait_for_the_medium;
    /// Promise: a promise that waited is void in a later term.
    #[test]
    fn m02_a_promise_of_an_older_term_is_dropped;
    /// Promise: a medium that hangs does not take the memory.
    #[test]
    fn promises_that_wait_are_bounded;
    /// Promise: an entry of an old term is not committed by counting (figure 8).
    #[test]
    fn m03_only_entries_of_the_own_term_are_counted;
    /// Promise: what was not committed may be replaced (figure 8).
    #[test]
    fn m03_an_old_entry_may_be_replaced;
    /// Promise: no change of members before an own-term commit.
    #[test]
    fn m04_no_change_before_an_own_entry_is_committed;
    /// Promise: one change of members at a time.
    #[test]
    fn one_change_at_a_time;
    /// Promise: a change that makes no sense is refused by name.
    #[test]
    fn changes_that_make_no_sense_are_refused;
    /// Promise: the last voter cannot go.
    #[test]
    fn the_only_voter_stays;
    /// Promise: a learner that lacks much does not become a voter.
    #[test]
    fn a_learner_that_lags_is_not_promoted;
    /// Promise: who lacks entries and counts on a vote that is none leaves nobody without a leader.
    #[test]
    fn a_learner_that_is_called_on_stands;
    /// Promise: whoever could not win does not raise the term.
    #[test]
    fn who_could_not_win_changes_nothing;
    /// Promise: no vote against a leader that may hold a lease.
    #[test]
    fn a_vote_is_refused_while_a_leader_may_hold_a_lease;
    /// Promise: a leader that is cut off stops deciding.
    #[test]
    fn a_leader_without_a_majority_steps_down;
    /// Promise: learners are no majority.
    #[test]
    fn learners_do_not_keep_a_leader;
    /// Promise: a voter that hears nobody disturbs nobody.
    #[test]
    fn one_way_cut_to_a_voter;
    /// Promise: a leader that nobody hears is replaced.
    #[test]
    fn one_way_cut_from_a_leader;
    /// Promise: a removed voter does not disturb, and is told.
    #[test]
    fn m05_a_removed_voter_does_not_disturb;
    /// Promise: a voter that knows of its removal is silent.
    #[test]
    fn m05_a_voter_that_knows_that_it_is_removed_does_not_ask;
    /// Promise: an old "removed" does not end a member that was added again.
    #[test]
    fn m05_told_too_late;
    /// Promise: who never stands does not send anybody to a leader that is gone.
    #[test]
    fn m05_a_learner_without_a_leader_says_so;
    /// Promise: an empty directory is not the voter that it was.
    #[test]
    fn m06_a_wiped_voter_is_not_who_it_was;
    /// Promise: a directory that was replaced is told so.
    #[test]
    fn m06_the_old_directory_comes_back;
    /// Promise: a member that lags follows a leader that was added anew with another directory (M06).
    #[test]
    fn m06_a_member_that_lags_follows_a_new_directory;
    /// Promise: a directory put back to an older state is found out.
    #[test]
    fn m07_an_older_image_is_found_out;
    /// Promise: whoever forgot is told until it hears.
    #[test]
    fn m07_told_until_it_hears;
    /// Promise: an old answer does not make a member one that forgot.
    #[test]
    fn m07_an_answer_that_was_overtaken_proves_nothing;
    /// Promise: a snapshot is taken whole or not at all.
    #[test]
    fn m08_a_snapshot_is_taken_whole_or_not_at_all;
    /// Promise: lost pieces of a snapshot are sent again.
    #[test]
    fn m08_lost_pieces_are_sent_again;
    /// Promise: a part of a snapshot outlives the leader that sent it.
    #[test]
    fn m08_another_leader_goes_on_with_the_same_snapshot;
    /// Promise: a snapshot does not take back what is behind it.
    #[test]
    fn m08_a_snapshot_of_what_is_here_takes_nothing;
    /// Promise: a slow store does not cost the leader its majority.
    #[test]
    fn m08_a_snapshot_that_is_stored_slowly_keeps_the_leader;
    /// Promise: a snapshot of an older term does not vouch for a leader in a newer one.
    #[test]
    fn m08_an_old_round_does_not_vouch;
    /// Promise: each read asks anew whether its leader leads.
    #[test]
    fn m11_each_read_asks_anew;
    /// Promise: no read before an own-term commit, and then one question for all.
    #[test]
    fn a_read_before_the_first_commit_waits;
    /// Promise: a read at any member sees what was acknowledged.
    #[test]
    fn a_read_is_passed_to_the_leader;
    /// Promise: only voters are asked for a read.
    #[test]
    fn reads_are_asked_of_voters;
    /// Promise: reads that wait are bounded.
    #[test]
    fn reads_are_bounded;
    /// Promise: a read is not answered with what an earlier run asked for.
    #[test]
    fn answers_of_another_run_are_dropped;
    /// Promise: a lease lasts six tenths of an election timeout from the question.
    #[test]
    fn lease_reads_ask_nobody;
    /// Promise: a lease ends in time with clocks a fifth apart.
    #[test]
    fn t02_a_lease_is_over_before_another_leads;
    /// Promise: a lease does not outlive a suspension.
    #[test]
    fn t03_p09_a_lease_does_not_outlive_a_suspension;
    /// Promise: a voter that starts anew keeps the lease that it granted.
    #[test]
    fn a_voter_that_restarts_does_not_break_a_lease;
    /// Promise: no lease once leadership was offered to another.
    #[test]
    fn a_lease_ends_with_the_offer_to_another;
    /// Promise: leadership goes to one that lacks nothing.
    #[test]
    fn a_transfer_waits_until_the_target_lacks_nothing;
    /// Promise: a lost message does not hold up a transfer.
    #[test]
    fn a_transfer_whose_message_is_lost_is_repeated;
    /// Promise: whoever wakes late waits once more, and only once.
    #[test]
    fn t06_whoever_wakes_late_waits_once_more;
    /// Promise: one voter alone acknowledges what is durable.
    #[test]
    fn m13_one_voter_acknowledges_when_it_is_durable;
    /// Promise: a removed leader steps down when its removal is committed.
    #[test]
    fn m14_a_removed_leader_steps_down;
    /// Promise: a demoted leader steps down and stays a member.
    #[test]
    fn m14_a_demoted_leader_steps_down;
    /// Promise: the log behind a snapshot is given up.
    #[test]
    fn m17_the_log_is_given_up_behind_a_snapshot;
    /// Promise: one snapshot at a time is stored.
    #[test]
    fn m17_a_snapshot_while_one_is_stored;
    /// Promise: appends under way are bounded by count and bytes.
    #[test]
    fn sending_ahead_is_bounded;
    /// Promise: what was lost on the way is sent again.
    #[test]
    fn a_lost_append_is_found_by_a_sign_of_life;
    /// Promise: proposals are bounded, each and together.
    #[test]
    fn proposals_are_bounded;
    /// Promise: proposals reach the leader and are passed on once.
    #[test]
    fn proposals_are_passed_to_the_leader;
    /// Promise: with the votes lost for good a member takes over when it is told to, and only if nobody leads as far as it knows.
    #[test]
    fn a_member_takes_over;
    /// Promise: who was taken over and has committed nothing else follows; it does not stand by votes that are over.
    #[test]
    fn a_taken_over_voter_that_returns_follows;
    /// Promise: who goes on alone after it was taken over leads until the first answer, and then takes no part any more.
    #[test]
    fn a_taken_over_voter_that_goes_on_ends;
    /// Promise: what is committed on one node and not in the log of who took over is found, never called equal.
    #[test]
    fn a_learner_that_knows_more_than_the_taker_ends;
    /// Promise: of two that take over at once one holds, and the other takes no part any more.
    #[test]
    fn two_members_take_over;
    /// Promise: what breaks the rules is dropped and changes nothing.
    #[test]
    fn unsound_messages_change_nothing;
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

/// Promise: the scenarios tell a core with a bug from one without.
#[test]
fn every_planted_bug_is_noticed() {
    let seen = |bug: &Planted| SCENARIOS.iter().any(|name| script::notices(name, *bug));
    let missed: Vec<&Planted> = Planted::ALL.iter().filter(|bug| !seen(bug)).collect();
    assert!(missed.is_empty(), "no scenario notices {missed:?}");
}

/// Promise: every mark of the core is passed in a scenario that explains it.
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
            let calls = text.split(".mark(").skip(1);
            let names =
                calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
            marks.extend(names.map(str::to_owned));
        }
    }
}
