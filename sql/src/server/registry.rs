//! All connections of a server: who is there, what they do, and how to end them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::interrupt::{Interrupt, Reason};

/// What to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The running statement.
    Query,
    /// The connection.
    Connection,
}

/// A line of SHOW PROCESSLIST.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Number of the connection.
    pub number: u32,
    /// Who; empty before the login.
    pub user: String,
    /// From where.
    pub host: String,
    /// Database that the session logged in to.
    pub database: Option<String>,
    /// `Query`, `Sleep`, `Connect` and such.
    pub command: &'static str,
    /// For how long.
    pub time: Duration,
    /// The statement that runs. May hold passwords: who shows it must redact them.
    pub statement: Option<Bytes>,
}

/// What a connection is known by.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) host: String,
    activity: Mutex<Activity>,
    /// Commands that run, of all connections.
    running: Arc<AtomicUsize>,
}

/// A command that runs; over when dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Entry>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.says("Sleep", None);
    }
}

#[derive(Debug)]
struct Activity {
    user: String,
    database: Option<String>,
    command: &'static str,
    since: Instant,
    statement: Option<Bytes>,
}

/// A value behind a lock stays whole even if a holder panicked: each change is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(super) fn logged_in(&self, user: &str, database: Option<&str>) {
        let mut activity = locked(&self.activity);
        user.clone_into(&mut activity.user);
        activity.database = database.map(str::to_owned);
    }

    pub(super) fn database(&self, name: &str) {
        locked(&self.activity).database = Some(name.to_owned());
    }

    /// A command begins.
    pub(super) fn runs(
        self: &Arc<Self>,
        command: &'static str,
        statement: Option<Bytes>,
    ) -> Running {
        self.says(command, statement);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    fn says(&self, command: &'static str, statement: Option<Bytes>) {
        let mut activity = locked(&self.activity);
        (activity.command, activity.since) = (command, Instant::now());
        activity.statement = statement;
    }
}

/// All connections of a server. A service keeps a handle for KILL and SHOW PROCESSLIST.
#[derive(Debug, Default)]
pub struct Connections {
    all: Mutex<HashMap<u32, Arc<Entry>>>,
    /// Those that have not logged in, oldest first. Numbers may go round, so they have an order
    /// of their own.
    logins: Mutex<BTreeMap<u64, Arc<Entry>>>,
    next: AtomicU32,
    admitted: AtomicUsize,
    running: Arc<AtomicUsize>,
    left: Notify,
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether no more than one command runs: who runs it may keep a thread.
    pub(crate) fn is_calm(&self) -> bool {
        self.running.load(Ordering::Relaxed) <= 1
    }

    /// Ends a statement or a connection. Gives whether there is one of this number.
    pub fn kill(&self, number: u32, what: Kill) -> bool {
        let found = locked(&self.all).get(&number).cloned();
        let Some(entry) = found else { return false };
        entry.interrupt.fire(match what {
            Kill::Query => Reason::Query,
            Kill::Connection => Reason::Connection,
        });
        true
    }

    /// Everybody, by number.
    #[must_use]
    pub fn list(&self) -> Vec<ConnectionInfo> {
        let entries: Vec<_> = locked(&self.all).values().cloned().collect();
        let info = |entry: &Arc<Entry>| {
            let activity = locked(&entry.activity);
            ConnectionInfo {
                number: entry.number,
                user: activity.user.clone(),
                host: entry.host.clone(),
                database: activity.database.clone(),
                command: activity.command,
                time: activity.since.elapsed(),
                statement: activity.statement.clone(),
            }
        };
        let mut list: Vec<_> = entries.iter().map(info).collect();
        list.sort_by_key(|info| info.number);
        list
    }

    /// Number of connections, those that have not logged in included.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.all).len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.admitted.load(Ordering::Acquire)
    }

    /// Enters a client that just came; one too many pushes out the oldest that is logging in.
    pub(super) fn enter(self: &Arc<Self>, host: String, max_logins: usize) -> Present {
        let activity = Activity {
            user: String::new(),
            database: None,
            command: "Connect",
            since: Instant::now(),
            statement: None,
        };
        let mut all = locked(&self.all);
        let number = loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != 0 && !all.contains_key(&number) {
                break number;
            }
        };
        let activity = Mutex::new(activity);
        let (interrupt, running) = (Arc::default(), self.running.clone());
        let entry = Arc::new(Entry { number, interrupt, host, activity, running });
        all.insert(number, entry.clone());
        drop(all);
        let mut logins = locked(&self.logins);
        if logins.len() >= max_logins
            && let Some((_, oldest)) = logins.pop_first()
        {
            oldest.interrupt.fire(Reason::Connection);
        }
        let order = logins.last_key_value().map_or(0, |(order, _)| order + 1);
        logins.insert(order, entry.clone());
        Present { connections: self.clone(), entry, login: Some(order), slot: false }
    }

    pub(super) fn ask_all_to_leave(&self) {
        locked(&self.all).values().for_each(|entry| entry.interrupt.ask_to_leave());
    }

    pub(super) fn fire_all(&self, reason: Reason) {
        locked(&self.all).values().for_each(|entry| entry.interrupt.fire(reason));
    }

    /// Returns when nobody is connected.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// A client's place among the connections; given up when dropped.
#[derive(Debug)]
pub(super) struct Present {
    connections: Arc<Connections>,
    pub(super) entry: Arc<Entry>,
    login: Option<u64>,
    slot: bool,
}

impl Present {
    /// Takes one of `max` places for sessions. Gives whether there was one.
    pub(super) fn take_slot(&mut self, max: usize) -> bool {
        if self.slot {
            return true;
        }
        let taken = self.connections.admitted.fetch_update(
            Ordering::AcqRel,
            Ordering::Acquire,
            |admitted| (admitted < max).then_some(admitted + 1),
        );
        self.slot = taken.is_ok();
        self.slot
    }

    /// Whether it has a place for a session.
    pub(super) const fn has_slot(&self) -> bool {
        self.slot
    }

    /// The login is over.
    pub(super) fn logged_in(&mut self) {
        if let Some(order) = self.login.take() {
            locked(&self.connections.logins).remove(&order);
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.logged_in();
        if self.slot {
            self.connections.admitted.fetch_sub(1, Ordering::AcqRel);
        }
        locked(&self.connections.all).remove(&self.entry.number);
        self.connections.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise (K07): who only connects is pushed out by those who come later, oldest first.
    #[test]
    fn k07_the_oldest_login_makes_room() {
        let connections = Connections::new();
        let mut present: Vec<_> = (0..3).map(|n| connections.enter(n.to_string(), 3)).collect();
        present[0].logged_in();
        present.push(connections.enter("3".into(), 3));
        assert!(present.iter().all(|present| present.entry.interrupt.reason().is_none()));
        present.push(connections.enter("4".into(), 3));
        let fired: Vec<_> =
            present.iter().map(|present| present.entry.interrupt.reason().is_some()).collect();
        assert_eq!(fired, [false, true, false, false, false]);
        drop(present);
        assert!(connections.is_empty() && locked(&connections.logins).is_empty());
    }

    /// Promise (K10): places for sessions are counted and given back.
    #[test]
    fn k10_places_are_counted() {
        let connections = Connections::new();
        let mut present: Vec<_> = (0..3).map(|_| connections.enter(String::new(), 9)).collect();
        assert!(present[0].take_slot(2) && present[1].take_slot(2) && present[1].take_slot(2));
        assert!(!present[2].take_slot(2));
        present.remove(0);
        assert!(present[1].take_slot(2));
        assert_eq!(connections.sessions(), 2);
    }
}
