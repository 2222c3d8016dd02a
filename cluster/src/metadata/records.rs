//! Commands about partitions' records: who is master, and how copies stand. Each holds for one version of the
//! record only.

use std::collections::BTreeSet;

use resprout_replication::{CopyState, Mode, Request};
use resprout_wal::Lsn;

use super::{
    At, Command, DatabaseEntry, Happened, LeftBy, Metadata, News, NodeState, Outcome, Refusal,
};
use crate::execution::{self, Change};
use crate::{Following, Incarnation, Instance, Ordinal, Partition, Stamp, Term};

/// What an election says of the copy that becomes master.
struct Elected<'a> {
    instance: Instance,
    incarnation: Incarnation,
    reported: &'a BTreeSet<Instance>,
    may_have_lost: bool,
    forced: bool,
    end: (Term, Lsn),
}

impl Metadata {
    pub(super) fn carry_out_on_record(
        &mut self,
        command: &Command,
        news: News,
    ) -> Result<Outcome, Refusal> {
        match command {
            Command::Intend { at } => self.intend(at, news)?,
            Command::Elect {
                at,
                instance,
                incarnation,
                reported,
                may_have_lost,
                forced,
                last_term,
                last,
            } => {
                let elected = Elected {
                    instance: *instance,
                    incarnation: *incarnation,
                    reported,
                    may_have_lost: *may_have_lost,
                    forced: *forced,
                    end: (*last_term, *last),
                };
                self.elect(at, &elected, news)?;
            }
            Command::Publish { database, ordinal, request } => {
                self.publish(database, *ordinal, request, news)?;
            }
            Command::TakeBack { at, instance, incarnation, clean } => {
                self.take_back(at, (*instance, *incarnation), *clean, news)?;
            }
            Command::Orphan { at, instance } => self.orphan(at, *instance, news)?,
            Command::Execute { database, change } => self.execute(database, change, news)?,
            other => unreachable!("{other:?} is carried out elsewhere"),
        }
        Ok(Outcome::Done)
    }

    /// The database whose record of a partition is at the version that is meant.
    fn at(&mut self, at: &At) -> Result<&mut DatabaseEntry, Refusal> {
        let entry = self.database_mut(&at.database)?;
        let Partition { term, cfg, .. } = *record(entry, at.ordinal)?;
        if (term, cfg) == (at.term, at.cfg) {
            Ok(entry)
        } else {
            Err(Refusal::Changed { term, cfg })
        }
    }

    fn intend(&mut self, at: &At, news: News) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        let term = fence(self.at(at)?, at.ordinal, stamp);
        self.tell_fenced(at, term, news);
        Ok(())
    }

    fn tell_fenced(&mut self, at: &At, term: Term, news: News) {
        let (database, ordinal) = (at.database.clone(), at.ordinal);
        self.tell(news, None, Happened::Fenced { database, ordinal, term });
    }

    fn elect(&mut self, at: &At, elected: &Elected<'_>, news: News) -> Result<(), Refusal> {
        let (stamp, instance) = (self.stamp(news), elected.instance);
        let any = planted!(self, ElectAnyCopy);
        let entry = self.at(at)?;
        let is_sync = entry.map.sync || entry.map.is_reference(at.ordinal);
        let mode = entry.replication(at.ordinal);
        let partition = record(entry, at.ordinal)?;
        let refused = |text: &str| Refusal::NotEligible { instance, text: text.to_owned() };
        if partition.master.is_some() {
            return Err(refused("the partition has a master; its mastership must end first"));
        }
        let leaf = partition.leaf_of(instance).ok_or_else(|| refused("it is not recorded"))?;
        let copy = partition.copies[&leaf];
        if copy.offline {
            return Err(refused("its leaf is not there"));
        }
        // Catalogue rule 8: only who has everything that was acknowledged, unless somebody insists by name.
        let is_allowed = !is_sync || copy.following == Following::Sync;
        if !is_allowed && !elected.forced && !any {
            return Err(refused("it may miss acknowledged writes"));
        }
        let record = partition.record(mode).elected(instance, elected.incarnation);
        let Ok(()) = partition.take_record(&record) else {
            return Err(refused("the record is of other copies"));
        };
        for (other, copy) in &mut partition.copies {
            if *other != leaf && !elected.reported.contains(&copy.instance) {
                copy.following = Following::Async;
            }
        }
        partition.stamp = stamp;
        partition.former = partition.former.filter(|former| *former != leaf);
        let was_orphan = partition.attached.take().is_some();
        let term = partition.term;
        let ((last_term, Lsn(last)), forced) = (elected.end, elected.forced);
        let (database, ordinal) = (at.database.clone(), at.ordinal);
        let may_have_lost = elected.may_have_lost || forced || was_orphan;
        let happened = Happened::Elected {
            database,
            ordinal,
            term,
            leaf,
            may_have_lost,
            forced,
            last_term,
            last,
        };
        self.tell(news, Some(leaf.into()), happened);
        Ok(())
    }

    /// Catalogue rules 5 to 7: the master asks, having begun to wait before it asks for more, and going on to
    /// wait until it knows that it was granted less.
    fn publish(
        &mut self,
        database: &str,
        ordinal: Ordinal,
        request: &Request,
        news: News,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        let any_version = planted!(self, PublishAnyVersion);
        let entry = self.database_mut(database)?;
        let mode = entry.replication(ordinal);
        let partition = record(entry, ordinal)?;
        let request =
            &Request { cfg: if any_version { partition.cfg } else { request.cfg }, ..*request };
        let (term, cfg, instance) = (partition.term, partition.cfg, request.instance);
        let refused = |text: &str| Refusal::NotEligible { instance, text: text.to_owned() };
        let leaf = partition.leaf_of(instance).ok_or_else(|| refused("it is not recorded"))?;
        let wants_more = matches!(request.to.state, CopyState::Ready | CopyState::Sync);
        if wants_more && partition.copies[&leaf].offline {
            return Err(refused("its leaf is not there"));
        }
        let Some(record) = partition.record(mode).after(request) else {
            return Err(Refusal::Changed { term, cfg });
        };
        if wants_more && !mode.is_sync() {
            return Err(refused("its database does not wait for replicas"));
        }
        let Ok(()) = partition.take_record(&record) else {
            return Err(refused("the record is of other copies"));
        };
        partition.stamp = stamp;
        Ok(())
    }

    fn take_back(
        &mut self,
        at: &At,
        (instance, run): (Instance, Incarnation),
        clean: bool,
        news: News,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        let resumes = planted!(self, ResumeUnclean);
        let trusts = planted!(self, TrustRestarted);
        let entry = self.at(at)?;
        let mode = entry.replication(at.ordinal);
        let partition = record(entry, at.ordinal)?;
        let refused = |text: &str| Refusal::NotEligible { instance, text: text.to_owned() };
        let leaf = partition.leaf_of(instance).ok_or_else(|| refused("it is not recorded"))?;
        let (is_master, is_served) =
            (partition.master == Some(leaf), partition.serving().is_some());
        let Some(copy) = partition.copies.get_mut(&leaf) else {
            return Err(refused("it is not recorded"));
        };
        if run < copy.incarnation {
            return Err(refused("a newer run of it is known"));
        }
        copy.offline = false;
        let is_same = run == copy.incarnation;
        let goes_on = clean || is_same || is_master && resumes || !is_master && trusts;
        if goes_on {
            copy.incarnation = run;
        } else if !is_master && is_served {
            // What it acknowledged before may be gone with the run, unless it was flushed (rule 15).
            copy.incarnation = run;
            if mode != Mode::Durable {
                copy.following = Following::Async;
            }
        }
        // Otherwise nobody serves, and whoever chooses has to see that it is another run.
        if is_master && !goes_on {
            let term = fence(entry, at.ordinal, stamp);
            self.tell_fenced(at, term, news);
        } else {
            partition.decide(stamp);
        }
        Ok(())
    }

    fn orphan(&mut self, at: &At, instance: Instance, news: News) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        let entry = self.at(at)?;
        let partition = record(entry, at.ordinal)?;
        let refused = |text: &str| Refusal::NotEligible { instance, text: text.to_owned() };
        let leaf = partition.leaf_of(instance).ok_or_else(|| refused("it is not recorded"))?;
        if partition.serving().is_none_or(|master| master == leaf) {
            return Err(refused("nobody else serves: it may be the last copy"));
        }
        let before = partition.copies.clone();
        partition.copies.remove(&leaf);
        partition.former = partition.former.filter(|former| *former != leaf);
        partition.decide(stamp);
        entry.note_left(at.ordinal, &before, (LeftBy::AttachLeaf, news));
        let (database, ordinal) = (at.database.clone(), at.ordinal);
        self.tell(news, Some(leaf.into()), Happened::Orphaned { database, ordinal, instance });
        Ok(())
    }

    fn execute(&mut self, database: &str, change: &Change, news: News) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        match *change {
            // A leaf that is being attached gets a copy for one that it lost (row I03).
            Change::AddCopy { leaf, .. } => self.check_leaf(leaf, NodeState::Attaching)?,
            Change::Attach { leaf, .. }
            | Change::Create { leaf, .. }
            | Change::Promote { to: leaf, .. } => self.check_leaf(leaf, NodeState::Online)?,
            Change::Remove { .. } | Change::Detach { .. } => {}
        }
        let bugs = (planted!(self, DropBeforeComplete), planted!(self, PromoteBehind));
        let entry = self.database_mut(database)?;
        #[cfg(any(test, feature = "testing"))]
        let change = &crate::testing::without_guards(bugs, &mut entry.map, change);
        let _ = bugs;
        let before =
            entry.map.partition(change.ordinal()).map(|partition| partition.copies.clone());
        execution::apply(&mut entry.map, change).map_err(|refused| Refusal::Step { refused })?;
        record(entry, change.ordinal())?.stamp = stamp;
        let by = LeftBy::from(change);
        entry.note_left(change.ordinal(), &before.unwrap_or_default(), (by, news));
        self.tell_of(database, change, news);
        Ok(())
    }
}

impl Metadata {
    /// What becomes an orphan by name, and what is none any more, people are to know.
    fn tell_of(&mut self, database: &str, change: &Change, news: News) {
        let database = database.to_owned();
        match *change {
            Change::Detach { ordinal, leaf, instance } => {
                let happened = Happened::Orphaned { database, ordinal, instance };
                self.tell(news, Some(leaf.into()), happened);
            }
            Change::Attach { ordinal, leaf, instance } => {
                let happened = Happened::Attached { database, ordinal, instance };
                self.tell(news, Some(leaf.into()), happened);
            }
            _ => {}
        }
    }
}

fn record(entry: &mut DatabaseEntry, ordinal: Ordinal) -> Result<&mut Partition, Refusal> {
    entry.map.partition_mut(ordinal).ok_or(Refusal::NoPartition { ordinal })
}

/// Ends the mastership of a partition that there is; the term of the next.
pub(super) fn fence(entry: &mut DatabaseEntry, ordinal: Ordinal, stamp: Stamp) -> Term {
    let term = entry.map.take_term(ordinal);
    if let Some(partition) = entry.map.partition_mut(ordinal) {
        partition.fence(term, stamp);
    }
    term
}
