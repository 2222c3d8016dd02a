//! How many sessions each account has, and how many it may have (catalogue S16).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Code, SqlError};

/// Sessions by the number of their account.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<HashMap<u64, u32>>);

/// A session's place; given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    account: u64,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        // Each change is one count up or down.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for one more session of an account, which may have `own` at once by its own
    /// limit and `each` as any account may; 0 is no limit, and the own one goes first.
    ///
    /// # Errors
    /// 1226 beyond the own limit, 1203 beyond that of any.
    pub(crate) fn take(
        self: &Arc<Self>,
        (account, user): (u64, &str),
        own: u32,
        each: u32,
    ) -> Result<Seat, SqlError> {
        let mut seats = self.lock();
        let taken = seats.entry(account).or_insert(0);
        if own > 0 && *taken >= own {
            let text = format!(
                "User '{user}' has exceeded the 'max_user_connections' resource (current value: {own})"
            );
            return Err(SqlError::new(Code::USER_LIMIT_REACHED, text));
        }
        if own == 0 && each > 0 && *taken >= each {
            let text = format!(
                "User {user} already has more than 'max_user_connections' active connections"
            );
            return Err(SqlError::new(Code::TOO_MANY_USER_CONNECTIONS, text));
        }
        *taken += 1;
        Ok(Seat { seats: Arc::clone(self), account })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.lock();
        if let Some(taken) = seats.get_mut(&self.account) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.account);
            }
        }
    }
}
