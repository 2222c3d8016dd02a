//! A client that writes while something is done to the cluster, and knows what was acknowledged.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use resprout_tools::failure::Failure;
use resprout_tools::output;

use super::DATABASE;
use super::cluster::{PATIENCE, connect, lost};
use super::processes::Processes;

/// Writes go on for so long without a pause before a failover counts as over.
const CALM: Duration = Duration::from_secs(2);
/// Whoever had a row acknowledged so lately is not in the middle of a pause.
const AGAIN: Duration = Duration::from_millis(200);

/// Writes a row after the other, and knows which were acknowledged.
pub(super) struct Writer {
    conn: Option<Conn>,
    next: i64,
    acknowledged: i64,
    last: Instant,
    longest: Duration,
    errors: u64,
}

impl Writer {
    pub(super) async fn begin(processes: &mut Processes) -> Result<Self, Failure> {
        let mut conn = connect(processes).await?;
        conn.query_drop(format!("DELETE FROM {DATABASE}.probe")).await.map_err(lost)?;
        let (conn, last, longest) = (Some(conn), Instant::now(), Duration::ZERO);
        Ok(Self { conn, next: 0, acknowledged: 0, last, longest, errors: 0 })
    }

    /// Goes on through whichever aggregator can be reached now, as whoever balances clients would have it.
    pub(super) fn look_for_another_door(&mut self) {
        self.conn = None;
    }

    pub(super) async fn write(&mut self, processes: &mut Processes) -> Result<(), Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(processes).await?,
        };
        let insert = format!("INSERT INTO {DATABASE}.probe VALUES ({})", self.next);
        match conn.query_drop(insert).await {
            // What had an unknown outcome is there.
            Ok(()) => self.acknowledge(conn),
            Err(Error::Server(error)) if error.code == 1062 => self.acknowledge(conn),
            Err(Error::Server(_)) => {
                self.errors += 1;
                self.conn = Some(conn);
            }
            // Its aggregator is gone: another one goes on.
            Err(_) => self.errors += 1,
        }
        Ok(())
    }

    fn acknowledge(&mut self, conn: Conn) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        self.acknowledged += 1;
        self.next += 1;
        self.conn = Some(conn);
    }

    pub(super) async fn write_for(
        &mut self,
        time: Duration,
        processes: &mut Processes,
    ) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.write(processes).await?;
        }
        (self.longest, self.last) = (Duration::ZERO, Instant::now());
        Ok(())
    }

    pub(super) async fn until_calm(&mut self, processes: &mut Processes) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        let mut calm_since = Instant::now();
        while calm_since.elapsed() < CALM || self.last.elapsed() > AGAIN {
            if Instant::now() > end {
                let why = format!("none was acknowledged for {:.0?}", self.last.elapsed());
                let fix = "\\status says who is there; see the logs of the nodes";
                return Err(Failure::new("writes do not go on as before", why, fix));
            }
            let before = self.longest;
            self.write(processes).await?;
            if self.longest > before && self.longest > Duration::from_millis(50) {
                calm_since = Instant::now();
            }
        }
        Ok(())
    }

    /// Counts what is there, and says what it saw. How many acknowledged rows are not there.
    pub(super) async fn tell(mut self, processes: &mut Processes) -> Result<i64, Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(processes).await?,
        };
        let found: Option<i64> = conn
            .query_first(format!("SELECT COUNT(*) FROM {DATABASE}.probe"))
            .await
            .map_err(lost)?;
        let missing = (self.acknowledged - found.unwrap_or(0)).max(0);
        output::line(format_args!(
            "  writes paused for {:.2} s at most; {} acknowledged, {missing} lost (counted), {} errors",
            self.longest.as_secs_f64(),
            self.acknowledged,
            self.errors
        ));
        Ok(missing)
    }
}
