//! A partition that is on another node.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;

use resprout_engine::table::{Catalog, Table, TableId, TableSchema};
use resprout_engine::{Error, InDoubt, Vote};

use crate::client::Leaf;
use crate::message::{Fault, Place, Question, Reply, Request, TableChange, Voted};
use crate::out::Lost;
use crate::transaction::{Changed, FarTransaction};

/// A partition whose master is elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct FarPartition {
    pub(crate) leaf: Arc<Leaf>,
    pub(crate) place: Place,
    name: Arc<str>,
    /// By whose office its tables are changed.
    office: u64,
}

/// A key and a value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// A position in the log of a partition that is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarPosition(u64, u64);

impl fmt::Debug for FarPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.leaf.address)
    }
}

impl FarPartition {
    pub(crate) fn new(leaf: Arc<Leaf>, place: Place, name: &str) -> Self {
        Self { leaf, place, name: Arc::from(name), office: 0 }
    }

    /// Which.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// `database:ordinal`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn unreachable(&self, why: impl fmt::Display) -> Error {
        let why = format!("{}: {why}", self.leaf.address);
        Error::Unreachable { partition: self.name.to_string(), why }
    }

    pub(crate) fn lost(&self, _lost: Lost) -> Error {
        self.unreachable("the connection was lost")
    }

    /// What came where something else was expected.
    pub(crate) fn odd(&self, reply: &Reply) -> Error {
        Error::Elsewhere(format!("{}: not an answer to that: {reply:?}", self.name))
    }

    /// What became of a change.
    pub(crate) fn changed(&self, reply: Reply) -> Result<Changed, Error> {
        match reply {
            Reply::Changed(None) => Ok(Changed::Gone),
            Reply::Changed(Some(was)) => Ok(Changed::Done(was)),
            Reply::Values(Some(values)) => Ok(Changed::Locked(values)),
            other => Err(self.odd(&other)),
        }
    }

    pub(crate) fn fault(&self, fault: Fault) -> Error {
        match fault {
            // Somewhere else it may be.
            Fault::NotOnline(_, state) => self.unreachable(format!("it is {state} there")),
            other => other.into(),
        }
    }

    /// Begins a transaction. Nothing is said before its first request, which tells if the partition does not serve.
    #[must_use]
    pub fn begin(&self) -> FarTransaction {
        FarTransaction::new(self.clone())
    }

    async fn ask(&self, question: Question) -> Result<Reply, Error> {
        let reply = self.leaf.once(&Request::Of(self.place, question)).await;
        match reply.map_err(|error| self.unreachable(error))? {
            Reply::Failed(fault) => Err(self.fault(fault)),
            reply => Ok(reply),
        }
    }

    async fn done(&self, question: Question) -> Result<(), Error> {
        match self.ask(question).await? {
            Reply::Done => Ok(()),
            other => Err(self.odd(&other)),
        }
    }

    fn done_now(&self, question: Question) -> Result<(), Error> {
        self.leaf.block(self.done(question))
    }

    /// Its tables, as they were when they were asked for last. Blocks if they never were.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NotOnline`].
    pub fn catalog(&self) -> Result<Catalog, Error> {
        let known = self.catalogs().get(&self.place).cloned();
        known.map_or_else(|| self.catalog_now(), Ok)
    }

    /// Its tables. Blocks.
    ///
    /// # Errors
    /// As [`FarPartition::catalog`].
    pub fn catalog_now(&self) -> Result<Catalog, Error> {
        let ranges = Catalog::ranges().into_iter().map(|range| (range.from, range.to));
        let rows = self.raw(ranges.collect())?;
        let rows = rows.iter().map(|(key, value)| (&key[..], &value[..]));
        let catalog = Catalog::from_rows(rows)
            .map_err(|damage| Error::Elsewhere(format!("{}: {damage}", self.name)))?;
        self.catalogs().insert(self.place, catalog.clone());
        Ok(catalog)
    }

    /// The next time its tables are asked for anew.
    pub fn forget_catalog(&self) {
        self.catalogs().remove(&self.place);
    }

    fn catalogs(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<Place, Catalog>> {
        self.leaf.catalogs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table of that name, as [`FarPartition::catalog`]; looked for once more if it is not among those known.
    ///
    /// # Errors
    /// As there; [`Error::NoSuchTable`].
    pub fn table(&self, name: &str) -> Result<Arc<Table>, Error> {
        if let Some(known) = self.catalog()?.table(name) {
            return Ok(known.clone());
        }
        let found = self.catalog_now()?.table(name).cloned();
        found.ok_or_else(|| Error::NoSuchTable { table: name.to_owned() })
    }

    /// Keys and values as they are in the tree. Blocks.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NotOnline`].
    pub fn raw(&self, ranges: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<Vec<RawRow>, Error> {
        match self.leaf.block(self.ask(Question::Raw { ranges }))? {
            Reply::Rows { rows, .. } => {
                Ok(rows.pairs().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
            }
            other => Err(self.odd(&other)),
        }
    }

    /// The same for the master aggregator that has this office: its tables are changed by that, and by no earlier one from
    /// the first time on that its leaf hears of it.
    #[must_use]
    pub fn in_office(&self, office: u64) -> Self {
        Self { office, ..self.clone() }
    }

    /// Where its leaf is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.leaf.address
    }

    /// Its leaf hears of the office: on it nothing of an earlier one is under way any more. Whether it knows of no newer one.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn begin_office(&self) -> Result<bool, Error> {
        Ok(self.define(TableChange::Begin)? == self.office)
    }

    /// The newest office that its leaf knows of: what is asked is done if it is the own one.
    fn define(&self, change: TableChange) -> Result<u64, Error> {
        let question = Question::Define(self.office, change);
        match self.leaf.block(self.ask(question))? {
            Reply::Number(Some(newest)) => Ok(newest),
            other => Err(self.odd(&other)),
        }
    }

    fn defined(&self, change: TableChange) -> Result<(), Error> {
        self.forget_catalog();
        let newest = self.define(change)?;
        if newest == self.office {
            return Ok(());
        }
        let text = format!(
            "{}: the tables are changed by another master aggregator by now (office {newest})",
            self.name
        );
        Err(Error::Elsewhere(text))
    }

    /// See [`resprout_engine::Partition::adopt_table`]. Blocks.
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`]; if the office is over.
    pub fn adopt_table(&self, schema: TableSchema) -> Result<(), Error> {
        self.defined(TableChange::Adopt(schema))
    }

    /// See [`resprout_engine::Partition::replace_table`]. Blocks.
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`]; if the office is over.
    pub fn replace_table(&self, name: &str, with: TableSchema) -> Result<(), Error> {
        self.defined(TableChange::Replace(name.to_owned(), with))
    }

    /// See [`resprout_engine::Partition::drop_table`]. Blocks.
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`]; if the office is over.
    pub fn drop_table(&self, name: &str) -> Result<(), Error> {
        self.defined(TableChange::Drop(name.to_owned()))
    }

    /// See [`resprout_engine::Partition::commit_prepared_async`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`], also if it may have taken effect.
    pub async fn commit_prepared(&self, global_id: &[u8]) -> Result<FarPosition, Error> {
        match self.ask(Question::CommitPrepared(global_id.to_vec())).await? {
            Reply::Position(generation, start) => Ok(FarPosition(generation, start)),
            other => Err(self.odd(&other)),
        }
    }

    /// See [`resprout_engine::Partition::abort_prepared`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn abort_prepared(&self, global_id: &[u8]) -> Result<(), Error> {
        self.done(Question::AbortPrepared(global_id.to_vec())).await
    }

    /// See [`resprout_engine::Partition::vote`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn vote(&self, global_id: &[u8]) -> Result<Vote, Error> {
        match self.ask(Question::Vote(global_id.to_vec())).await? {
            Reply::Vote(Voted::Promised) => Ok(Vote::Promised),
            Reply::Vote(Voted::Committed) => Ok(Vote::Committed),
            Reply::Vote(Voted::Refused) => Ok(Vote::Refused),
            other => Err(self.odd(&other)),
        }
    }

    /// See [`resprout_engine::Partition::in_doubt`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn in_doubt(&self) -> Result<Vec<InDoubt>, Error> {
        let Reply::InDoubt(found) = self.ask(Question::InDoubt).await? else {
            return Err(Error::Elsewhere(format!("{}: not an answer to that", self.name)));
        };
        let shown =
            found.into_iter().map(|(global_id, participants, changes, inherited)| InDoubt {
                global_id,
                participants,
                changes: usize::try_from(changes).unwrap_or(usize::MAX),
                inherited,
            });
        Ok(shown.collect())
    }

    /// See [`resprout_engine::Partition::is_durable`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn is_durable(&self, position: FarPosition) -> Result<bool, Error> {
        match self.ask(Question::IsDurable(position.0, position.1)).await? {
            Reply::Was(durable) => Ok(durable),
            other => Err(self.odd(&other)),
        }
    }

    /// See [`resprout_engine::Partition::decisions`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn decisions(&self) -> Result<Vec<Vec<u8>>, Error> {
        match self.ask(Question::Decisions).await? {
            Reply::Ids(ids) => Ok(ids),
            other => Err(self.odd(&other)),
        }
    }

    /// See [`resprout_engine::Partition::forget_decisions`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn forget_decisions(&self, ids: Vec<Vec<u8>>) -> Result<(), Error> {
        self.done(Question::Forget(ids)).await
    }

    /// See [`resprout_engine::Partition::take_numbers`]. Blocks.
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`], also if some were taken.
    pub fn take_numbers(&self, table: TableId, from: u64, count: u64) -> Result<u64, Error> {
        match self.leaf.block(self.ask(Question::Numbers(table, from, count)))? {
            Reply::Number(Some(first)) => Ok(first),
            other => Err(self.odd(&other)),
        }
    }

    /// See [`resprout_engine::Partition::flush`].
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.done(Question::Flush).await
    }

    /// See [`resprout_engine::Partition::snapshot`]. Blocks.
    ///
    /// # Errors
    /// As there; [`Error::Unreachable`].
    pub fn snapshot(&self) -> Result<(), Error> {
        self.done_now(Question::Snapshot)
    }
}
