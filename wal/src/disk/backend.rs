//! Which backend a process uses, chosen by flag or by what the kernel allows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Disk, PlainDisk, UringDisk};

/// How to reach the kernel's disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where it is allowed, else `pwritev2`.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// Blocking calls.
    Pwritev2,
}

impl Backend {
    /// The disk of this backend.
    ///
    /// # Errors
    /// Only for [`Backend::IoUring`]: why the kernel refuses.
    pub fn open(self) -> std::io::Result<Arc<dyn Disk>> {
        match self {
            Self::Auto => Ok(open_default()),
            Self::IoUring => Ok(Arc::new(UringDisk::new()?)),
            Self::Pwritev2 => Ok(Arc::new(PlainDisk)),
        }
    }
}

/// io_uring if this process may use it; else `pwritev2`, with one warning that says why.
#[must_use]
pub fn open_default() -> Arc<dyn Disk> {
    match UringDisk::new() {
        Ok(disk) => Arc::new(disk),
        Err(error) => {
            tracing::warn!(%error, "io_uring is not available here, using pwritev2 (slower)");
            Arc::new(PlainDisk)
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Pwritev2 => "pwritev2",
        })
    }
}

/// No backend has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no disk backend is called `{0}`; there are auto, io_uring, pwritev2")]
pub struct UnknownBackend(pub String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        [Self::Auto, Self::IoUring, Self::Pwritev2]
            .into_iter()
            .find(|backend| backend.to_string() == name)
            .ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: every backend's name is understood, and others are refused by name.
    #[test]
    fn names_go_both_ways() {
        for backend in [Backend::Auto, Backend::IoUring, Backend::Pwritev2] {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        let error = "mmap".parse::<Backend>().unwrap_err();
        assert_eq!(error, UnknownBackend("mmap".into()));
        assert!(error.to_string().contains("`mmap`"));
    }

    /// Promise: there is always a disk, and it says what it is.
    #[test]
    fn there_is_always_a_disk() {
        assert!(["io_uring", "pwritev2"].contains(&open_default().backend()));
        assert_eq!(Backend::Pwritev2.open().unwrap().backend(), "pwritev2");
    }
}
