//! What the seeds of every change must contain, and seeds that are kept.

/// Faults, moments of the cores and decisions, each of which must occur over these seeds.
pub const WANTED: [&str; 41] = [
    "a copy is made",
    "a group that is not complete is cut off",
    "a message of a copy that does not live there",
    "a partition is to stand still",
    "a partition stands still",
    "a peer knows a newer term",
    "a replica asks to leave",
    "a replica is silent or too slow",
    "acknowledged",
    "all was served in a lull",
    "an election that may have lost something",
    "another run of a replica than was waited for",
    "behind what is kept",
    "clogged link",
    "crash",
    "crash of all",
    "crash of all leaves",
    "cuts its tail",
    "decided: a copy is back",
    "decided: a copy is back in order",
    "decided: a master",
    "decided: a mastership ends",
    "decided: another copy",
    "decided: how a copy stands",
    "decided: office",
    "fenced",
    "healed",
    "installed",
    "isolation",
    "metadata came as a snapshot",
    "no lease",
    "no majority: stepped down",
    "one way cut",
    "orderly stop",
    "partition of the network",
    "pause",
    "published asynchronous: no longer waited for",
    "quick crash",
    "read at a replica",
    "rows lost",
    "slow disk",
];

/// Seeds that once found a bug, and which. They stay of use as long as plans are drawn in the same way.
pub const REGRESSIONS: [(u64, &str); 3] = [
    (
        17,
        "a leaf without its rows, back unnoticed, made empty masters of the term in which they were lost",
    ),
    (205, "the same"),
    (
        6805,
        "a master without its rows, back unnoticed while its replica was away, was taken for all that is left",
    ),
];
