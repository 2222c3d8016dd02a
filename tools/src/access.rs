//! Opening a data directory, and telling what the engine says in three lines.

use std::path::Path;

use clap::ValueEnum;
use resprout_engine::{Engine, Error, Options};
use resprout_wal::OpenError;
use resprout_wal::disk::Backend;

use crate::failure::{Exit, Failure, causes};

/// Disk backend, as a flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiskChoice {
    /// io_uring where the kernel allows it, else pwritev2.
    #[default]
    Auto,
    /// io_uring or an error.
    #[value(name = "io_uring", alias = "io-uring")]
    IoUring,
    /// Blocking calls.
    Pwritev2,
}

impl DiskChoice {
    fn backend(self) -> Backend {
        match self {
            Self::Auto => Backend::Auto,
            Self::IoUring => Backend::IoUring,
            Self::Pwritev2 => Backend::Pwritev2,
        }
    }
}

/// The engine's default options on a disk of this choice.
///
/// # Errors
/// If the kernel refuses a backend that was asked for by name.
pub fn options(disk: DiskChoice) -> Result<Options, Failure> {
    let mut options = Options::default();
    if disk != DiskChoice::Auto {
        options.world.disk = disk.backend().open().map_err(|error| {
            let what = format!("cannot use the disk backend {}", disk.backend());
            Failure::new(what, error, "use --disk auto")
        })?;
    }
    Ok(options)
}

/// Opens a directory and waits until it is recovered.
///
/// # Errors
/// What the engine says.
pub fn open(dir: &Path, options: Options) -> Result<Engine, Failure> {
    Engine::open(dir, options).map_err(|error| cannot_open(dir, &error))
}

/// An error of opening `dir`.
#[must_use]
pub fn cannot_open(dir: &Path, error: &Error) -> Failure {
    explain(&format!("cannot open {}", dir.display()), error)
}

/// An error of the engine with what to do about it.
#[must_use]
pub fn explain(what: &str, error: &Error) -> Failure {
    let (exit, fix) = match error {
        Error::InUse { .. } | Error::Log(OpenError::InUse { .. }) => {
            (Exit::Refused, "stop the process that has it open, or choose another directory")
        }
        Error::ForeignDirectory { .. } => (
            Exit::Refused,
            "choose an empty directory or one that resprout made; nothing was changed",
        ),
        Error::NotADataDirectory { .. } => (Exit::Failed, "check the path"),
        Error::FormatVersion { .. } => {
            (Exit::Refused, "use the newer resprout that wrote it; nothing was changed")
        }
        Error::BadOption { .. } => (Exit::Usage, "correct the setting"),
        Error::IdentityDamaged { .. }
        | Error::ManifestDamaged { .. }
        | Error::Log(_)
        | Error::Snapshot(_)
        | Error::DataDamaged { .. } => {
            (Exit::Damaged, "see resprout inspect verify; restore the directory from a copy")
        }
        Error::LogFull(_) => (Exit::Failed, "free space on the device and try again"),
        Error::MemoryLimit { .. } => (Exit::Failed, "raise --memory or delete rows"),
        Error::Disk { .. } => (Exit::Failed, "check the path, its permissions and the device"),
        other if other.is_retryable() => (Exit::Failed, "try again"),
        _ => (Exit::Failed, "correct the request"),
    };
    Failure::new(what, causes(error), fix).exiting(exit)
}
