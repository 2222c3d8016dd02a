//! What `resproutd node` is made of.
//!
//! ```text
//!   config ──► run ──► engine (recovers in the background)
//!                │          │ status, polled
//!                │          ▼
//!                ├──► narrator   log lines: progress, states, stalls
//!                ├──► systemd    READY=1, STATUS=, EXTEND_TIMEOUT_USEC=
//!                ├──► door       clients, which the binary brings
//!                └──► http       /livez /startupz /readyz /metrics /api/status
//! ```
//!
//! Narrator, systemd and http show one [`view::NodeView`], so they never disagree.

pub mod config;
pub mod door;
pub mod http;
pub mod logging;
pub mod member;
pub mod metrics;
pub mod narrator;
pub mod run;
pub mod systemd;
pub mod view;
