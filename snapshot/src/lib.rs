//! Snapshots of Resprout: a root on disk.
