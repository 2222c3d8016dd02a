//! What heartbeats tell of the steps of a plan: how much of a copy there is, how fast it comes, and what it waits for.
//!
//! ```text
//!   leaf of the copy ── image: bytes, done ── end of its log, not applied ─┐
//!   leaf of the master ────────────────────── end of its log ──────────────┴─► done, in all ─► Pace ─► Live
//! ```

use std::collections::{BTreeMap, BTreeSet};

use resprout_wal::Lsn;

use super::{Manager, copy_name};
use crate::LeafId;
use crate::metadata::{DatabaseEntry, Metadata};
use crate::plan::{Awaited, Copied, Live, Pace, Plan, Progress, Seen, Status, Step};
use crate::reconcile::{Doing, HeldCopy};

/// What was seen of the steps of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    paces: BTreeMap<usize, Pace>,
    /// Copies that were made, and where their masters' logs ended then.
    made: BTreeMap<usize, Lsn>,
    /// Those of which all is known.
    known: BTreeSet<usize>,
}

impl Figures {
    /// How far steps are that run, and copies that were made since the last look.
    pub(super) fn look(
        &mut self,
        manager: &Manager,
        (metadata, entry): (&Metadata, &DatabaseEntry),
        (plan, progress): (&Plan, &[Progress]),
    ) -> Vec<(usize, Live)> {
        let mut lives = Vec::new();
        for (at, (step, progress)) in plan.steps.iter().zip(progress).enumerate() {
            let held = || manager.held_of(metadata, entry, step);
            match progress.status {
                Status::Running if step.action.is_copy() || step.action.is_promotion() => {
                    let pace = self.paces.entry(at).or_default();
                    let live = running(entry, step, held(), (pace, manager.now_ms()));
                    lives.push((at, live));
                }
                Status::Success if step.action.is_copy() && !self.known.contains(&at) => {
                    let (Some(copy), Some(master)) = held() else { continue };
                    if copy.last == Lsn::ZERO || master.last == Lsn::ZERO {
                        // Heard of before it had anything; by now it may be master itself.
                        continue;
                    }
                    let end = *self.made.entry(at).or_insert(master.last);
                    let took = progress.running_ms.unwrap_or(0);
                    if let Some(copied) = whole(&copy, end, took) {
                        self.known.insert(at);
                        lives.push((at, Live { copied, ..Live::default() }));
                    }
                }
                _ => {}
            }
        }
        lives
    }
}

impl Manager {
    /// What a step's copy and its master were when they were heard of last.
    fn held_of(
        &self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        step: &Step,
    ) -> (Option<HeldCopy>, Option<HeldCopy>) {
        let Some(partition) = entry.map.partition(step.ordinal) else { return (None, None) };
        let held = |leaf: LeafId| {
            let copy = partition.copies.get(&leaf)?;
            let answer = self.heard_as_known(metadata, leaf.into())?;
            answer.held.get(&copy_name(entry, partition, copy.instance)).copied()
        };
        (held(step.target), partition.serving().and_then(held))
    }
}

/// Bytes that have come, of how many; none if nobody can know.
fn come(copy: &HeldCopy, master: &HeldCopy) -> Option<(u64, u64)> {
    let end = master.last.max(copy.last);
    match copy.image {
        Some(image) if copy.doing == Doing::Provisioning => {
            Some((image.done_bytes, image.bytes + master.last.since(image.lsn)))
        }
        Some(image) => {
            Some((image.bytes + copy.last.since(image.lsn), image.bytes + end.since(image.lsn)))
        }
        // Its log is all that it was given.
        None => (copy.doing == Doing::Following).then_some((copy.last.0, end.0)),
    }
}

/// A copy or a promotion under way.
fn running(
    entry: &DatabaseEntry,
    step: &Step,
    (copy, master): (Option<HeldCopy>, Option<HeldCopy>),
    (pace, now_ms): (&mut Pace, u64),
) -> Live {
    let is_copy = step.action.is_copy();
    let unknown = if is_copy { Awaited::Contact } else { Awaited::Transactions };
    let Some(copy) = copy else { return Live { awaits: unknown, ..Live::default() } };
    let awaits = |left: u64| match copy.doing {
        _ if !is_copy => {
            if left > 0 {
                Awaited::Log
            } else {
                Awaited::Transactions
            }
        }
        Doing::Provisioning => match copy.image {
            Some(image) if image.done_bytes == image.bytes => Awaited::Install,
            _ => Awaited::Pages,
        },
        Doing::Following if left == 0 && entry.map.sync => Awaited::Commits,
        Doing::Following => Awaited::Log,
        _ => unknown,
    };
    let Some((bytes, total_bytes)) = master.and_then(|master| come(&copy, &master)) else {
        return Live { awaits: awaits(0), ..Live::default() };
    };
    let left = total_bytes.saturating_sub(bytes);
    pace.see(now_ms, Seen { come: bytes, left, unapplied: copy.unapplied_bytes });
    let awaits = awaits(left);
    let copied = Copied { bytes, total_bytes, rate: pace.rate() };
    Live {
        awaits,
        copied: is_copy.then_some(copied),
        // How long the image takes to be put in place is not known.
        catch_up: pace.catch_up().filter(|_| awaits != Awaited::Install),
        replay: pace.replay(),
    }
}

/// A copy that was made, in so many milliseconds, once its leaf has said how: with the log up to that end. One that was there
/// already came with no bytes.
fn whole(copy: &HeldCopy, end: Lsn, took_ms: u64) -> Option<Option<Copied>> {
    let is_there = match copy.doing {
        // An answer from before has less.
        Doing::Following => copy.last >= end,
        Doing::Online(_) | Doing::Transitioning(_) => true,
        _ => false,
    };
    if !is_there {
        return None;
    }
    if took_ms == 0 {
        return Some(None);
    }
    let bytes = copy.image.map_or(end.0, |image| image.bytes + end.since(image.lsn));
    let rate = u128::from(bytes) * 1000 / u128::from(took_ms);
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    Some(Some(Copied { bytes, total_bytes: bytes, rate }))
}

#[cfg(test)]
mod tests {
    use resprout_replication::ImageProgress;

    use super::*;
    use crate::plan::{Action, Left, Phase};
    use crate::{Database, Ordinal};

    fn step(action: Action) -> Step {
        Step {
            phase: Phase::Masters,
            ordinal: Ordinal(0),
            target: LeafId(2),
            action,
            bytes: 0,
            instance: None,
        }
    }

    fn entry() -> DatabaseEntry {
        let map = Database { sync: true, ..Database::default() };
        DatabaseEntry { map, ..DatabaseEntry::default() }
    }

    fn held(doing: Doing, last: u64, image: Option<(u64, u64)>) -> HeldCopy {
        let image =
            image.map(|(bytes, done_bytes)| ImageProgress { lsn: Lsn(100), bytes, done_bytes });
        HeldCopy { doing, last: Lsn(last), image, ..HeldCopy::default() }
    }

    /// Looks at a copy at times (in milliseconds), and at a master whose log ends at 150; what is known at last.
    fn look(action: Action, copies: &[(u64, HeldCopy)]) -> Live {
        let (entry, mut pace) = (entry(), Pace::default());
        let master = held(Doing::Online(crate::Term(2)), 150, None);
        let look = |(at, copy): &(u64, HeldCopy)| {
            running(&entry, &step(action), (Some(*copy), Some(master)), (&mut pace, *at))
        };
        copies.iter().map(look).last().unwrap()
    }

    /// Promise: a copy shows how much of it has come, of an image and of the log behind it, how fast, and what is left.
    #[test]
    fn a_copy_shows_what_has_come() {
        let gets = |done| held(Doing::Provisioning, 0, Some((1_000, done)));
        let live = look(Action::Copy, &[(0, gets(200)), (1_000, gets(600))]);
        assert_eq!(live.copied, Some(Copied { bytes: 600, total_bytes: 1_050, rate: 400 }));
        assert_eq!(live.catch_up, Some(Left { bytes: 450, rate: 400 }));
        assert_eq!(live.remaining_ms(Action::Copy), Some(1_125));
        assert_eq!(live.awaits, Awaited::Pages);
        let installs = look(Action::Copy, &[(0, gets(600)), (1_000, gets(1_000))]);
        assert_eq!(installs.awaits, Awaited::Install);
        assert_eq!(installs.remaining_ms(Action::Copy), None, "nobody knows");
        let follows = |last| held(Doing::Following, last, Some((1_000, 1_000)));
        let live = look(Action::Copy, &[(0, follows(100)), (500, follows(140))]);
        assert_eq!(live.copied, Some(Copied { bytes: 1_040, total_bytes: 1_050, rate: 80 }));
        assert_eq!((live.awaits, live.remaining_ms(Action::Copy)), (Awaited::Log, Some(125)));
        let live = look(Action::Copy, &[(0, follows(150))]);
        assert_eq!((live.awaits, live.remaining_ms(Action::Copy)), (Awaited::Commits, Some(0)));
        let live = look(Action::Copy, &[(0, held(Doing::Following, 50, None))]);
        assert_eq!(live.copied, Some(Copied { bytes: 50, total_bytes: 150, rate: 0 }), "log alone");
        let live = look(Action::Copy, &[(0, held(Doing::Pending, 0, None))]);
        assert_eq!((live.awaits, live.copied, live.catch_up), (Awaited::Contact, None, None));
    }

    /// Promise: a promotion shows what the copy lacks and has not applied; no bytes that it copies.
    #[test]
    fn a_promotion_shows_what_is_missing() {
        let follows = |last, unapplied_bytes| HeldCopy {
            unapplied_bytes,
            ..held(Doing::Following, last, None)
        };
        let looks = [(0, follows(110, 90)), (1_000, follows(140, 60))];
        let live = look(Action::Promote, &looks);
        assert_eq!((live.awaits, live.copied), (Awaited::Log, None));
        assert_eq!(live.catch_up, Some(Left { bytes: 10, rate: 30 }));
        assert_eq!(live.replay, Some(Left { bytes: 60, rate: 30 }));
        assert_eq!(live.remaining_ms(Action::Promote), Some(2_000));
        let live = look(Action::Promote, &[(0, follows(150, 0))]);
        assert_eq!(
            (live.awaits, live.remaining_ms(Action::Promote)),
            (Awaited::Transactions, Some(0))
        );
    }

    /// Promise: when a copy is made, what it was is told once its leaf says so; of one that was there already, nothing.
    #[test]
    fn a_copy_that_was_made_says_how_much_it_was() {
        let copy = held(Doing::Following, 150, Some((1_000, 1_000)));
        let copied = Copied { bytes: 1_050, total_bytes: 1_050, rate: 2_100 };
        assert_eq!(whole(&copy, Lsn(150), 500), Some(Some(copied)));
        assert_eq!(whole(&copy, Lsn(150), 0), Some(None), "it was there");
        assert_eq!(whole(&copy, Lsn(151), 500), None, "an answer from before");
        let leads = held(Doing::Online(crate::Term(3)), 900, Some((1_000, 1_000)));
        assert_eq!(whole(&leads, Lsn(150), 500), Some(Some(copied)), "it is master by now");
        let before = held(Doing::Provisioning, 0, Some((1_000, 900)));
        assert_eq!(whole(&before, Lsn(0), 500), None, "an answer from before");
    }
}
