//! What goes into the cores and what comes out.

use bytes::Bytes;
use resprout_wal::{Lsn, Term};

use crate::{
    Decided, Envelope, Frame, ImageHead, Incarnation, Instance, Promise, Request, StreamId,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed: the core's deadline is reached.
    Tick,
    /// A message has arrived.
    Receive(Envelope),
    /// There is a connection with the node of this copy: what was said to it before may not have arrived.
    Connected(Instance),
    /// A committed record: an answer of the authority, or seen in the metadata. Repeating is
    /// harmless.
    Record(Decided),
    /// The copy's own log has grown by a frame (master).
    Appended(Frame),
    /// The log is on the medium up to here.
    Durable(Lsn),
    /// A promise is on the medium.
    Promised(Promise),
    /// The committed root reflects everything up to here.
    Applied(Lsn),
    /// The log is cut, and the latest root is that of this position.
    Cut {
        /// Where.
        to: Lsn,
    },
    /// What was asked for by [`Lookup`].
    Chain {
        /// Where.
        at: Lsn,
        /// Over everything before; `None` if that is no end of a frame, or not kept any more.
        chain: Option<u64>,
    },
    /// What was asked for by [`Read`].
    Read {
        /// Which read.
        read: Read,
        /// Frames behind each other; `None` if the log does not have them any more.
        frames: Option<Vec<Frame>>,
    },
    /// The log begins here now: what was before is given up.
    Trimmed(Lsn),
    /// Copies that lack much may get it at this rate from now on (master): clients come first.
    CatchUpRate {
        /// Bytes between two beats, to one copy: of pages, or of the log beyond what it grows by.
        bytes_per_beat: u64,
    },
    /// A root is held for a copy, and the log behind it.
    Image {
        /// For whom.
        replica: Instance,
        /// It.
        head: ImageHead,
    },
    /// What was asked for by [`PageWork::Digests`].
    Digests {
        /// Which image.
        image: u64,
        /// First page.
        from: u64,
        /// One for each page.
        digests: Vec<u64>,
    },
    /// What was asked for by [`PageWork::Read`], or as many of the first as fit: number and content of each page, checked while
    /// it was read.
    Pages {
        /// Which image.
        image: u64,
        /// They.
        pages: Vec<(u64, Bytes)>,
    },
    /// What was asked for by [`PageWork::Compare`].
    Differ {
        /// Which image.
        image: u64,
        /// Behind the last page that was compared.
        until: u64,
        /// Those that this copy does not have.
        pages: Vec<u64>,
    },
    /// Pages are stored beside what is served.
    Stored {
        /// Which image.
        image: u64,
    },
    /// The image has replaced what was here, durably and at once.
    Installed {
        /// Which image.
        image: u64,
        /// The number of the copy's life from now on.
        incarnation: Incarnation,
    },
    /// An image is not complete, or not what its digests say: to be fetched anew.
    Spoiled {
        /// Which image.
        image: u64,
    },
    /// The device takes no more (replica). Whoever drives the core reserves what it may be sent
    /// ahead of need, so nothing that was handed over is refused.
    Full,
    /// The device takes more again.
    SpaceBack,
    /// The node stops in order (row P08): a replica says so, and takes nothing more. Of a master the
    /// authority decides.
    Stopping,
    /// The log has ended with an error: nothing is acknowledged any more (catalogue rule 17).
    LogFailed,
}

/// What is to be done. The order is: `turn`, `writes` in their order, everything else. Messages may
/// be lost on their way; nothing else may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// To be carried out one after the other.
    pub writes: Vec<Write>,
    /// To be sent.
    pub messages: Vec<Envelope>,
    /// Commits up to here are acknowledged, and visible.
    pub committed: Option<Lsn>,
    /// The copy is something else than before.
    pub state: Option<State>,
    /// To be asked of the authority; asked again while there is no answer.
    pub requests: Vec<Request>,
    /// To be told to the authority (catalogue rule 9).
    pub report: Option<Report>,
    /// Chains to be looked up.
    pub lookups: Vec<Lookup>,
    /// Frames to be read from the arena.
    pub reads: Vec<Read>,
    /// What is to be done with pages.
    pub pages: Vec<PageWork>,
    /// This copy takes the other role: whoever drives it makes the other core.
    pub turn: Option<Turn>,
    /// Things that an operator should know.
    pub alarms: Vec<Alarm>,
    /// Lines of the core that were passed, for the tests that explain them.
    #[cfg(any(test, feature = "testing"))]
    pub marks: Vec<&'static str>,
}

/// One change of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The promise: one record; then [`Event::Promised`].
    Promise(Promise),
    /// Frames, verbatim, behind the log's end; then [`Event::Durable`]. Whole groups are applied to
    /// the latest root.
    Append(Vec<Frame>),
    /// Cut the log and go back to the root of that position; then [`Event::Cut`].
    Cut {
        /// Where.
        to: Lsn,
        /// Whether what is cut off is saved to a file.
        save: bool,
    },
    /// Apply the whole log to the latest root and append the record that starts a term, or one that says nothing if the log
    /// ends in that term; comes back as [`Event::Appended`].
    BeginTerm(Term),
}

/// A chain is needed: [`Event::Chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup(pub Lsn);

/// Frames are needed: [`Event::Read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// For which copy.
    pub replica: Instance,
    /// For which of its streams.
    pub stream: StreamId,
    /// The first.
    pub from: Lsn,
    /// Read no further.
    pub until: Lsn,
    /// Bytes at most, but one frame.
    pub bytes_max: u64,
}

/// What is to be done with pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageWork {
    /// Hold the committed root and the log behind it: [`Event::Image`].
    Hold {
        /// For whom.
        replica: Instance,
        /// It has nothing: the image may be [plain](ImageHead::plain).
        plain: bool,
    },
    /// Hold it no longer.
    Release {
        /// For whom.
        replica: Instance,
    },
    /// Digests of pages of a held root: [`Event::Digests`].
    Digests {
        /// Which image.
        image: u64,
        /// First page.
        from: u64,
        /// How many.
        count: u32,
    },
    /// Pages of a held root: [`Event::Pages`].
    Read {
        /// Which image.
        image: u64,
        /// Page numbers.
        pages: Vec<u64>,
    },
    /// Which of these pages does this copy not have, in its tree or kept from before:
    /// [`Event::Differ`].
    Compare {
        /// Which image.
        head: ImageHead,
        /// First page.
        from: u64,
        /// One for each page; none for a [plain](ImageHead::plain) image, of which as many are looked at as the answer says.
        digests: Vec<u64>,
    },
    /// Store pages beside what is served: [`Event::Stored`].
    Store {
        /// Which image.
        image: u64,
        /// Number and content.
        pages: Vec<(u64, Bytes)>,
    },
    /// All pages are here: make the image durable, then replace tree and log by it, at once:
    /// [`Event::Installed`] or [`Event::Spoiled`].
    Install(ImageHead),
}

/// What a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Follows nobody; waits for the record.
    #[default]
    Pending,
    /// Looks for the place where it goes on, or goes back.
    Connecting,
    /// Gets pages.
    Provisioning {
        /// Pages that are settled.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// Follows its master.
    Replicating,
    /// Master of this term, and not writable yet.
    Transitioning(Term),
    /// Master of this term: reads and writes.
    Online(Term),
    /// Was master: what waits for an acknowledgement has an unknown outcome.
    Fenced(Term),
    /// Stopped on purpose.
    Halted(Halt),
}

/// Why a copy stopped, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Two masters in one term: the metadata are broken.
    #[error("two masters of term {0}")]
    TwoMasters(Term),
    /// The master's history lacks what this copy knows was acknowledged (assertion 7).
    #[error("a cut at {to} would lose what was acknowledged up to {acknowledged}")]
    CutBelowAcknowledged {
        /// Where it would have to be cut.
        to: Lsn,
        /// Known acknowledged.
        acknowledged: Lsn,
    },
    /// The log ended with an error.
    #[error("the log has failed")]
    LogFailed,
}

/// A copy's answer to being fenced (catalogue rule 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// It takes nothing older than this.
    pub promised: Term,
    /// Term of its last record.
    pub last_term: Term,
    /// End of its last whole group.
    pub last: Lsn,
    /// Which copy.
    pub instance: Instance,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Its log is whole and it is not in the middle of being provisioned.
    pub healthy: bool,
}

/// The copy takes the other role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is master by this record.
    Master(Decided),
    /// It is not master any more; the record, if that is why.
    Replica(Option<Decided>),
}

/// Things that an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A peer sent what no peer that follows the rules sends; it was dropped.
    Unsound(Instance),
    /// The record lets a copy be promoted that was not waited for: it is from now on
    /// (assertion 5).
    NotWaitedFor(Instance),
    /// A copy does not answer: commits wait until the record says that it is asynchronous.
    Silent(Instance),
    /// Chains differ where histories agree: somebody's log is not what it was (row R23).
    Differs {
        /// Whose.
        replica: Instance,
        /// Where.
        at: Lsn,
    },
    /// A database with asynchronous replication goes back: what was acknowledged is lost.
    Lost {
        /// From here.
        from: Lsn,
        /// Up to here.
        to: Lsn,
    },
    /// Term of a peer above the record's: the metadata known here are stale (rule 20).
    NewerTerm(Term),
}
