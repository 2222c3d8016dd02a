//! A master in this process, which leads alone at first, and a replica in a child that joins it.

use std::path::Path;
use std::sync::{Arc, Weak};

use resprout_engine::Partition;
use resprout_engine::table::TableSchema;
use resprout_replication::driver::{MemoryAuthority, Node, RecordListener};
use resprout_replication::{CopyState, Incarnation, Instance, State};

use super::lines::{Followed, FromReplica, Sums, ToReplica};
use super::member::{MASTER, Member, PARTITION, REPLICA, cannot, until};
use super::peer::Peer;
use super::{DurabilityChoice, ModeChoice, mode};
use crate::access::DiskChoice;
use crate::bench::testbed::{TABLE, failed, wrong};
use crate::commands::bench::{io_failed, secret};
use crate::failure::Failure;

/// What both copies are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) mode: ModeChoice,
    pub(super) durability: DurabilityChoice,
    pub(super) disk: DiskChoice,
    pub(super) row_bytes: usize,
}

/// The master, and who decides about it.
pub(super) struct Lead {
    pub(super) master: Member,
    pub(super) authority: Arc<MemoryAuthority>,
    shape: Shape,
    secret: String,
}

/// A replica that runs. Dropped, it ends.
pub(super) struct Joined {
    pub(super) peer: Peer,
    pub(super) echo: String,
    pub(super) sink: String,
    address: String,
}

impl Lead {
    /// The master leads alone, and its table is made.
    pub(super) fn start(shape: Shape, dir: &Path) -> Result<Self, Failure> {
        let secret = secret().map_err(io_failed("draw a secret"))?;
        let authority = Arc::new(MemoryAuthority::default());
        let who = (MASTER, mode(shape.mode, shape.durability)?, 1);
        let master = Member::start(dir, shape.disk, who, &secret, authority.clone())?;
        let listener: Weak<dyn RecordListener> = Arc::<Node>::downgrade(&master.node) as _;
        authority.listen(listener);
        let run = master.copy.identity().incarnation;
        authority.register(PARTITION, Instance(MASTER), run);
        let lead = Self { master, authority, shape, secret };
        until("the master may lead", || lead.authority.promote(PARTITION, Instance(MASTER), run))?;
        lead.until_online()?;
        let schema = TableSchema::builder(TABLE)
            .column("id", "bigint")
            .column("payload", &format!("varbinary({})", shape.row_bytes))
            .primary_key(&["id"]);
        let schema = schema.build().map_err(|error| failed(&error.into()))?;
        lead.partition().create_table(schema).map_err(|error| failed(&error))?;
        Ok(lead)
    }

    pub(super) fn partition(&self) -> &Partition {
        self.master.copy.stored().partition()
    }

    /// Starts a replica in an empty directory, the `run`th of this bench; there is no connection yet.
    pub(super) fn join(&self, dir: &Path, run: u64) -> Result<Joined, Failure> {
        let (mut peer, stdout) = Peer::start(&self.shape, dir, run)?;
        peer.hear(stdout, self.authority.clone());
        peer.order(&ToReplica::Start { secret: self.secret.clone() })?;
        let FromReplica::Ready { address, echo, sink, incarnation } = peer.answer()? else {
            return Err(cannot("cannot start the replica")("its first answer is another"));
        };
        self.authority.listen(Arc::downgrade(&peer.orders) as _);
        self.authority.register(PARTITION, Instance(REPLICA), Incarnation(incarnation));
        Ok(Joined { peer, echo, sink, address })
    }

    /// Lets the two connect.
    pub(super) fn meet(&self, joined: &Joined) -> Result<(), Failure> {
        let master = Some(self.master.transport.address().to_string());
        joined.meet(master)?;
        // This node connects, so the time begins here.
        self.master.meet(REPLICA, joined.address.clone());
        Ok(())
    }

    /// Ends their connection.
    pub(super) fn part(&self, joined: &Joined) -> Result<(), Failure> {
        self.master.part();
        joined.meet(None)
    }

    /// Takes the replica for asynchronous, as the authority would when it is silent: nobody waits for it.
    pub(super) fn give_up_replica(&self) {
        self.authority.register(PARTITION, Instance(REPLICA), self.run_of(REPLICA));
    }

    pub(super) fn run_of(&self, number: u64) -> Incarnation {
        let known = self.authority.record(PARTITION);
        known.map_or(Incarnation(0), |at| at.record.copy(Instance(number)).incarnation)
    }

    pub(super) fn until_online(&self) -> Result<(), Failure> {
        let copy = &self.master.copy;
        until("the master leads", || matches!(copy.status().state, State::Online(_)))
    }

    pub(super) fn until_sync(&self, number: u64) -> Result<(), Failure> {
        until("a copy is sync", || {
            let known = self.authority.record(PARTITION);
            known.is_some_and(|at| at.record.copy(Instance(number)).state == CopyState::Sync)
        })
    }

    /// Both have the same rows, each whole and in a version that `judge` accepts, and one history.
    pub(super) fn verify(
        &self,
        joined: &Joined,
        rows: u64,
        judge: impl Fn(u64, u32) -> bool + Sync,
    ) -> Result<Sums, Failure> {
        let mine = self.master.sums(self.shape.row_bytes, judge)?;
        joined.peer.order(&ToReplica::Sum { end: mine.contents.end })?;
        let theirs = joined.peer.answer()?;
        if mine.contents.rows != rows {
            return Err(wrong(format!("{} rows, {rows} were written", mine.contents.rows)));
        }
        match theirs {
            FromReplica::Sums(theirs) if theirs == mine => Ok(mine),
            other => Err(wrong(format!("one copy has {mine:?}, the other answers {other:?}"))),
        }
    }
}

impl Joined {
    fn meet(&self, master: Option<String>) -> Result<(), Failure> {
        self.peer.order(&ToReplica::Meet { master })?;
        match self.peer.answer()? {
            FromReplica::Met => Ok(()),
            other => Err(wrong(format!("asked to connect, the replica answers {other:?}"))),
        }
    }

    /// Waits until it has all before `end`.
    pub(super) fn follow(&self, end: u64) -> Result<Followed, Failure> {
        self.peer.order(&ToReplica::Follow { end })?;
        match self.peer.answer()? {
            FromReplica::Followed(followed) => Ok(followed),
            other => Err(wrong(format!("asked to follow, the replica answers {other:?}"))),
        }
    }
}
