//! Where clients come in. The binary brings it, so that what needs no SQL builds none.

use std::future::Future;

use resprout_engine::Engine;

use super::config::Settings;
use crate::failure::Failure;

/// What serves clients on a node's engine, through the node's life:
///
/// ```text
///  configure ─► bind ─► open ─► recovered ─► close
/// ```
pub trait FrontDoor: Send + Sync + 'static {
    /// Reads and checks its settings; does nothing else.
    ///
    /// # Errors
    /// What is wrong with them.
    fn configure(&mut self, settings: &Settings) -> Result<(), Failure>;

    /// Takes its ports, before the data directory is touched.
    ///
    /// # Errors
    /// If one is taken.
    fn bind(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Lets clients in, while the engine recovers. Called where it may block.
    ///
    /// # Errors
    /// If what it needs from the data directory cannot be used.
    fn open(&self, engine: &Engine) -> Result<(), Failure>;

    /// All partitions have recovered. Called where it may block.
    ///
    /// # Errors
    /// If what a crash left half done cannot be ended.
    fn recovered(&self) -> Result<(), Failure>;

    /// Ends when somebody who came in wants the node to stop. Default: never.
    fn wants_end(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Lets nobody in any more, and waits until all sessions have ended.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Nobody comes in.
#[derive(Clone, Copy, Debug)]
pub struct NoDoor;

impl FrontDoor for NoDoor {
    fn configure(&mut self, _settings: &Settings) -> Result<(), Failure> {
        Ok(())
    }

    async fn bind(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn open(&self, _engine: &Engine) -> Result<(), Failure> {
        Ok(())
    }

    fn recovered(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn close(&self) {}
}
