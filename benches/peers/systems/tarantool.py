"""Tarantool 2.6: one memtx space with a tree index on an unsigned key.

Recovery modes: `snapshot` (written by box.snapshot() with the log off) and `xlog` (the log of the
whole load, 1,000 rows a transaction, beside nothing but the empty snapshot of bootstrap). Commits:
`wal_mode=fsync` by fibers inside the server. The answer about the rows comes from inside the
server too, so nothing of the network is counted against it.
"""

import os
import subprocess
import time

from harness import packages, process
from harness.process import PeerError

name = "tarantool"
packages_needed = ["tarantool"]
modes = ["snapshot", "xlog"]
commit_mode = "wal_mode=fsync, in process"
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")


def version():
    """As the binary tells it."""
    return process.run([packages.find("tarantool"), "--version"]).split()[1].split("-")[0]


def command(program, *words):
    """The command line that runs one of our programs in a server."""
    script = os.path.join(PROGRAMS, program)
    return [packages.find("tarantool"), script, *[str(word) for word in words]]


def memory_for(dataset):
    """Arena size: the rows, their tuples' headers and the index, with room to spare."""
    return (256 << 20) + dataset.rows * (dataset.row_bytes + 120)


class Stored:
    """A loaded Tarantool: see `systems`."""

    def __init__(self, mode, dataset, home, sockets):
        del sockets  # nothing connects from outside
        self.mode, self.dataset, self.home = mode, dataset, process.own_folder(home)
        self.log = os.path.join(home, "output.log")
        self.memory = memory_for(dataset)
        self.timeout = 120 + dataset.rows / 50_000
        self.server = None
        self.load_s = self.load()

    def load(self):
        """Loads, checks by a first recovery, and leaves the files as that recovery found them."""
        pool = os.path.join(os.path.dirname(self.home), "pool.tmp")
        with open(pool, "wb") as out:
            out.write(self.dataset.pool)
        data = self.dataset
        words = [self.home, self.mode, data.rows, data.row_bytes, pool, data.span, data.step, self.memory]
        try:
            seconds = float(process.run(command("tarantool_load.lua", *words), seconds=self.timeout))
        finally:
            os.unlink(pool)
        self.start()
        self.check()
        self.stop()
        return seconds

    def start(self):
        """Time from exec to the answer that all rows are there."""
        argv = command("tarantool_recover.lua", self.home, self.memory)
        began = time.perf_counter()
        self.server = process.start(argv, self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = process.read_line(self.server, self.timeout)
        total = time.perf_counter() - began
        if line != str(self.dataset.rows):
            raise PeerError(f"tarantool {self.mode}: {line!r} rows, expected {self.dataset.rows}")
        return {"total_s": total, "accepting_s": total}

    def check(self):
        """Compares sampled rows byte for byte."""
        keys = self.dataset.sample()
        for key in keys:
            self.server.stdin.write(b"%d\n" % key)
            self.server.stdin.flush()
            if bytes.fromhex(process.read_line(self.server, 30)) != self.dataset.value(key):
                raise PeerError(f"tarantool {self.mode}: row {key} came back changed")
        return len(keys)

    def stop(self):
        """Kills the server."""
        process.kill(self.server)

    def files(self):
        """Where snapshot and log lie."""
        return self.home


def prepare(mode, dataset, home, sockets):
    """Loads `dataset`; see `systems`."""
    return Stored(mode, dataset, home, sockets)


def commit(clients, seconds, row_bytes, place):
    """Durable inserts by `clients` fibers."""
    home, _ = place
    process.own_folder(home)
    argv = command("tarantool_commit.lua", home, clients, seconds, row_bytes)
    rate, p50, p99 = process.run(argv, seconds=seconds + 60).split()
    return {"commits_per_s": float(rate), "p50_us": float(p50), "p99_us": float(p99)}
