"""RocksDB as a library: Put with sync = true, by threads of one process (commit only).

Not a recovery peer: it does not bring rows back into memory at start.
"""

import os

from harness import packages, process

name = "rocksdb"
packages_needed = ["librocksdb-dev", "g++"]
commit_mode = "sync=true, in process"
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs", "rocksdb_commit.cc")
BUILT = {}


def program():
    """The compiled program, built once per run of the driver."""
    if "path" not in BUILT:
        folder = process.scratch_folder()
        path = os.path.join(folder, "rocksdb_commit")
        compiler = packages.find("g++") or "g++"
        process.run([compiler, "-O2", "-std=c++17", "-Wall", "-o", path, SOURCE, "-lrocksdb", "-lpthread"])
        BUILT["path"] = path
    return BUILT["path"]


def version():
    """Of the headers it was built with."""
    return process.run([program(), "--version"]).strip()


def commit(clients, seconds, row_bytes, place):
    """Durable puts by `clients` threads."""
    home, _ = place
    process.own_folder(home)
    argv = [program(), home, str(clients), str(seconds), str(row_bytes)]
    rate, p50, p99 = process.run(argv, seconds=seconds + 60).split()
    return {"commits_per_s": float(rate), "p50_us": float(p50), "p99_us": float(p99)}
