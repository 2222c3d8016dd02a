//! What goes wrong, and for how long. Faults are drawn from those of the plan; each ends by itself,
//! and all of them when the storm is over.

/// One kind of fault, or of an operator's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A node loses its power, and starts again.
    Crash,
    /// All do at once.
    CrashAll,
    /// A process is stopped and goes on later; its clock has run.
    Pause,
    /// Nothing gets to a node or from it.
    Isolate,
    /// Nothing gets to a node.
    Deafen,
    /// Nothing gets from a node.
    Mute,
    /// Two halves.
    Partition,
    /// One way is cut.
    OneWay,
    /// Some ways keep what is sent on them.
    Clog,
    /// A disk becomes slow.
    SlowDisk,
    /// A clock changes its rate.
    ClockRate,
    /// A connection is said to be lost.
    Disconnect,
    /// A leader hands over.
    Transfer,
    /// A member joins, goes, gets a vote or loses it.
    Churn,
    /// A node takes a snapshot now.
    Compact,
    /// A data directory is lost.
    Wipe,
    /// A data directory is put back to an older state.
    Restore,
    /// A write or flush fails.
    DiskError,
    /// Power fails within an operation of the disk.
    DiskPower,
    /// A disk grows no more.
    DiskFull,
}

impl Fault {
    /// Those of real stores only.
    pub const DISK: [Self; 3] = [Self::DiskError, Self::DiskPower, Self::DiskFull];

    /// Those of every store.
    pub const ALL: [Self; 17] = [
        Self::Crash,
        Self::CrashAll,
        Self::Pause,
        Self::Isolate,
        Self::Deafen,
        Self::Mute,
        Self::Partition,
        Self::OneWay,
        Self::Clog,
        Self::SlowDisk,
        Self::ClockRate,
        Self::Disconnect,
        Self::Transfer,
        Self::Churn,
        Self::Compact,
        Self::Wipe,
        Self::Restore,
    ];

    /// For the count and the trace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "fault: crash",
            Self::CrashAll => "fault: crash of all",
            Self::Pause => "fault: pause",
            Self::Isolate => "fault: isolate",
            Self::Deafen => "fault: deafen",
            Self::Mute => "fault: mute",
            Self::Partition => "fault: partition",
            Self::OneWay => "fault: one way cut",
            Self::Clog => "fault: clog",
            Self::SlowDisk => "fault: slow disk",
            Self::ClockRate => "fault: clock rate",
            Self::Disconnect => "fault: disconnect",
            Self::Transfer => "fault: transfer",
            Self::Churn => "fault: churn",
            Self::Compact => "fault: compact",
            Self::Wipe => "fault: wipe",
            Self::Restore => "fault: restore",
            Self::DiskError => "fault: disk error",
            Self::DiskPower => "fault: power lost in the disk",
            Self::DiskFull => "fault: disk full",
        }
    }
}
