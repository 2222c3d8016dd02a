//! A cluster that is founded, with leaves and a database, command by command.

use resprout_cluster::metadata::{
    At, Command, Decree, Metadata, NewHome, NodeState, Outcome, Refusal,
};
use resprout_cluster::{Address, Incarnation, Instance, LeafId, Mode, NodeId, Ordinal, Partition};

/// The name of the database.
pub(crate) const DB: &str = "test";

/// The state and the next index.
pub(crate) struct World {
    pub(crate) state: Metadata,
    pub(crate) index: u64,
    /// Everything that was applied.
    pub(crate) log: Vec<(u64, Decree)>,
}

pub(crate) fn address(port: u16) -> Address {
    Address { host: "10.0.0.1".to_owned(), port }
}

impl World {
    /// An aggregator (node 1) in office and so many leaves (nodes 2 and up).
    pub(crate) fn new(mode: Mode, leaves: u16) -> Self {
        let mut world = Self { state: Metadata::default(), index: 0, log: Vec::new() };
        world.done(Command::Found { cluster: 7, address: address(3306) });
        world.done(Command::TakeOffice { node: NodeId(1), after: 0 });
        world.done(Command::SetMode { mode });
        for leaf in 1..=leaves {
            world.done(Command::AddLeaf {
                address: address(3306 + leaf),
                group: None,
                incarnation: Incarnation(1),
            });
        }
        world
    }

    /// The same with a database of two copies on leaves 2 and 3.
    pub(crate) fn pair(sync: bool, durable: bool) -> Self {
        let mut world = Self::new(Mode::Paired, 2);
        let home =
            |master, replica| NewHome { master: LeafId(master), replica: Some(LeafId(replica)) };
        world.done(Command::CreateDatabase {
            name: DB.to_owned(),
            homes: vec![home(2, 3), home(3, 2)],
            sync,
            durable,
            redundancy: 2,
            reference: false,
        });
        world
    }

    /// The same with a partition for reference tables, which is the third.
    pub(crate) fn with_reference(sync: bool, durable: bool) -> Self {
        let mut world = Self::new(Mode::Paired, 4);
        let home =
            |master, replica| NewHome { master: LeafId(master), replica: Some(LeafId(replica)) };
        world.done(Command::CreateDatabase {
            name: DB.to_owned(),
            homes: vec![home(2, 3), home(3, 2)],
            sync,
            durable,
            redundancy: 2,
            reference: true,
        });
        world
    }

    pub(crate) fn apply_in(&mut self, office: u64, command: Command) -> Outcome {
        self.index += 1;
        let decree = Decree { office, at_ms: 1000 * self.index, command };
        let before = self.state.clone();
        let outcome = self.state.apply(self.index, &decree);
        if matches!(outcome, Outcome::Refused { .. }) {
            assert_eq!(before.databases(), self.state.databases(), "a refusal changes nothing");
            assert_eq!(before.nodes(), self.state.nodes(), "a refusal changes nothing");
            assert_eq!(before.events(), self.state.events(), "a refusal changes nothing");
        }
        self.log.push((self.index, decree));
        outcome
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.apply_in(self.state.office().number, command)
    }

    pub(crate) fn done(&mut self, command: Command) -> Outcome {
        let outcome = self.apply(command);
        assert!(!matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        outcome
    }

    pub(crate) fn refused(&mut self, command: Command) -> Refusal {
        match self.apply(command) {
            Outcome::Refused { refusal } => refusal,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn partition(&self, ordinal: u32) -> &Partition {
        self.state.partition(DB, Ordinal(ordinal)).expect("it exists")
    }

    pub(crate) fn at(&self, ordinal: u32) -> At {
        let Partition { term, cfg, ordinal, .. } = *self.partition(ordinal);
        At { database: DB.to_owned(), ordinal, term, cfg }
    }

    pub(crate) fn node_state(&mut self, node: u64, to: NodeState, run: u64) -> Outcome {
        let (node, incarnation) = (NodeId(node), Incarnation(run));
        let from = self.state.nodes()[&node].state;
        self.apply(Command::SetNodeState { node, from, to, incarnation })
    }

    /// The election of a copy after everybody in `reported` did.
    pub(crate) fn elect(&self, ordinal: u32, instance: u64, run: u64, reported: &[u64]) -> Command {
        Command::Elect {
            at: self.at(ordinal),
            instance: Instance(instance),
            incarnation: Incarnation(run),
            reported: reported.iter().map(|n| Instance(*n)).collect(),
            may_have_lost: false,
            forced: false,
            last_term: self.partition(ordinal).term,
            last: resprout_wal::Lsn(4096),
        }
    }

    pub(crate) fn publish(
        &self,
        ordinal: u32,
        instance: u64,
        state: resprout_replication::CopyState,
    ) -> Command {
        let at = self.at(ordinal);
        let to = resprout_replication::CopyRecord { state, incarnation: Incarnation(1) };
        let (term, cfg, instance) = (at.term, at.cfg, Instance(instance));
        let request = resprout_replication::Request { term, cfg, instance, to };
        Command::Publish { database: at.database, ordinal: at.ordinal, request }
    }
}
