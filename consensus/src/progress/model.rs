//! A member's progress against an obvious account of it: everything that was sent is written down,
//! and everything that was answered.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::{Phase, Progress};
use crate::{EntryId, Index, Limits, Round, Term};

/// What happens between a leader and one member.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The leader sends so many entries of so many bytes together, if it may.
    Send(u64, usize),
    /// The member says that it has everything up to one of the last so many indexes.
    Matched(u64),
    /// The member says that it lacks the entry at one index, and hints at another.
    Rejected(u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_u64, 0..60_usize).prop_map(|(entries, bytes)| Step::Send(entries, bytes)),
        4 => (0..6_u64).prop_map(Step::Matched),
        2 => (0..8_u64, 0..8_u64).prop_map(|(previous, hint)| Step::Rejected(previous, hint)),
    ];
    prop::collection::vec(step, 0..60)
}

/// The account.
struct Account {
    matched: u64,
    /// Last index and bytes of each append since the place was found; none while it is looked for.
    sent: Option<Vec<(u64, usize)>>,
    /// Index before the one asked about, while the place is looked for.
    probing: u64,
    asked: bool,
}

impl Account {
    fn next(&self) -> u64 {
        match &self.sent {
            Some(sent) => 1 + sent.iter().map(|(last, _)| *last).fold(self.matched, u64::max),
            None => self.probing + 1,
        }
    }

    fn may_send(&self, limits: &Limits) -> bool {
        let Some(sent) = &self.sent else { return !self.asked };
        let open: Vec<_> = sent.iter().filter(|(last, _)| *last > self.matched).collect();
        let bytes: usize = open.iter().map(|(_, bytes)| bytes).sum();
        open.len() < limits.inflight_appends_max && bytes < limits.inflight_bytes_max
    }

    fn matched(&mut self, index: u64) {
        self.matched = self.matched.max(index);
        self.sent.get_or_insert_default();
        self.asked = false;
    }

    /// Whether the rejection is news: it is about what was asked, or about what is not known to
    /// match, and there is a way back.
    fn rejected(&mut self, previous: u64, hint: u64) -> bool {
        let news = match self.sent {
            Some(_) => previous > self.matched,
            None => previous == self.probing,
        };
        let last = hint.min(previous.saturating_sub(1)).max(self.matched);
        let news = news && last + 1 < self.next();
        if news {
            (self.sent, self.probing, self.asked) = (None, last, false);
        }
        news
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 3000,
        rng_seed: RngSeed::Fixed(0x5EED_0003),
        failure_persistence: None,
        ..Config::default()
    })]

    /// Promise: whatever is answered in whatever order, what a member is known to have never falls,
    /// what it is sent next lies behind that, and no more is under way than the bounds allow.
    #[test]
    fn progress_agrees_with_the_account(
        last in 0..10_u64,
        (appends, bytes) in (1..5_usize, 1..150_usize),
        steps in steps(),
    ) {
        let limits =
            Limits { inflight_appends_max: appends, inflight_bytes_max: bytes, ..Limits::default() };
        let mut progress = Progress::new(Index(last));
        let mut account = Account { matched: 0, sent: None, probing: last, asked: false };
        for step in steps {
            match step {
                Step::Send(entries, bytes) if account.may_send(&limits) => {
                    let id = EntryId::new(Term(1), Index(account.next() + entries - 1));
                    progress.sent(id, bytes);
                    match &mut account.sent {
                        Some(sent) => sent.push((id.index.0, bytes)),
                        None => account.asked = true,
                    }
                }
                Step::Send(..) => {}
                Step::Matched(back) => {
                    let index = account.next().saturating_sub(back);
                    let news = progress.matched(Index(index), Round(0));
                    prop_assert_eq!(news, index > account.matched);
                    account.matched(index);
                }
                Step::Rejected(back, hint) => {
                    let previous = account.next().saturating_sub(back);
                    let news = progress.rejected(Index(previous), Index(hint));
                    prop_assert_eq!(news, account.rejected(previous, hint));
                }
            }
            prop_assert_eq!(progress.matched.0, account.matched);
            prop_assert_eq!(progress.next.0, account.next());
            prop_assert!(progress.next > progress.matched);
            prop_assert_eq!(progress.may_append(&limits), account.may_send(&limits));
            prop_assert_eq!(matches!(progress.phase, Phase::Probe { .. }), account.sent.is_none());
        }
    }
}
