"""PostgreSQL 15: a table with a bigint primary key and a bytea value.

Recovery mode `crash`: SIGKILL to the whole server while a further load is under way. The log may
grow to 16 GiB before a checkpoint and none is asked for, so the whole load is replayed: it is the
log that is measured. `accepting_s` is the first statement answered, `total_s` the count of all
rows. Commits: synchronous_commit=on, driven by pgbench with prepared statements.
"""

import os
import shutil
import struct
import subprocess
import time

from harness import packages, process
from harness.process import PeerError

name = "postgresql"
packages_needed = ["postgresql", "postgresql-contrib"]
modes = ["crash"]
commit_mode = "synchronous_commit=on"
USER = "postgres"
ROWS_PER_COPY = 1_000_000
ROWS_PER_SEND = 10_000
# More than the in-flight load can send before the kill, so it never commits.
ROWS_IN_FLIGHT = 50_000
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")
BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
BINARY_END = struct.pack(">h", -1)
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "2GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "512MB",
    "max_connections": "100",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    # Files in the data folder instead of /dev/shm, where a killed server would leave them.
    "dynamic_shared_memory_type": "mmap",
}


def tool(binary):
    """A program of the newest installed version, which distributions keep out of PATH."""
    base = "/usr/lib/postgresql"
    versions = sorted(os.listdir(base), key=float, reverse=True) if os.path.isdir(base) else []
    path = packages.find(binary, also=[f"{base}/{each}/bin" for each in versions])
    if not path:
        raise PeerError(f"postgresql has no {binary}")
    return path


def version():
    """As the binary tells it."""
    return process.run([tool("postgres"), "--version"]).split()[2]


def init(home, log):
    """An empty cluster that trusts whoever reaches its socket, which only we do."""
    argv = [tool("initdb"), "-D", home, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale"]
    with open(log, "ab"):
        process.run(argv, user=USER)


def start_server(home, sockets, log):
    """The server's process; not yet accepting."""
    argv = [tool("postgres"), "-D", home, "-k", sockets]
    for key, value in SETTINGS.items():
        argv += ["-c", f"{key}={value}"]
    return process.start(argv, log, user=USER)


def psql(sockets, statement):
    """The command line of a client that stops at the first error and prints bare values."""
    return [tool("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", sockets, "-U", USER, "-c", statement]


def ask(sockets, statement):
    """The answer to a statement, stripped."""
    return process.run(psql(sockets, statement)).strip()


def accepting(sockets):
    """A probe for process.wait_until: True once a statement is answered."""
    def probe():
        if not os.path.exists(os.path.join(sockets, ".s.PGSQL.5432")):
            return None
        try:
            return ask(sockets, "SELECT 1") == "1" or None
        except PeerError:
            return None
    return probe


def copy_chunks(dataset, first, end):
    """Rows in COPY's binary format: two columns, the lengths before the values."""
    head = struct.Struct(">hiqi")
    size = dataset.row_bytes
    yield BINARY_HEADER
    for start in range(first, end, ROWS_PER_SEND):
        rows = dataset.values(start, min(start + ROWS_PER_SEND, end))
        yield b"".join([head.pack(2, 8, key, size) + value for key, value in rows])
    yield BINARY_END


class Stored:
    """A crashed PostgreSQL, kept aside so that every run recovers the same files."""

    def __init__(self, mode, dataset, home, sockets):
        self.mode, self.dataset, self.sockets = mode, dataset, sockets
        self.root = process.own_folder(home, USER)
        self.crashed = os.path.join(home, "crashed")
        self.running = os.path.join(home, "running")
        self.log = os.path.join(home, "postgresql.log")
        self.timeout = 120 + dataset.rows / 20_000
        self.server = None
        self.load_s = self.load()

    def load(self):
        """COPY in transactions of a million rows, then one more that never ends."""
        init(self.crashed, self.log)
        self.server = start_server(self.crashed, self.sockets, self.log)
        process.wait_until(accepting(self.sockets), self.server, 60)
        ask(self.sockets, "CREATE TABLE rows (key bigint PRIMARY KEY, value bytea NOT NULL)")
        ask(self.sockets, "ALTER TABLE rows ALTER value SET STORAGE PLAIN")
        copy = psql(self.sockets, r"\copy rows FROM pstdin WITH (FORMAT binary)")
        began = time.perf_counter()
        for first, end in self.dataset.chunks(ROWS_PER_COPY):
            process.feed(copy, copy_chunks(self.dataset, first, end))
        seconds = time.perf_counter() - began
        self.check()
        self.crash_in_flight(copy)
        return seconds

    def crash_in_flight(self, copy):
        """Kills the server in the middle of a transaction that must not be there afterwards."""
        rows = self.dataset.rows
        client = process.start(copy, self.log, stdin=subprocess.PIPE)
        for chunk in list(copy_chunks(self.dataset, rows, rows + ROWS_IN_FLIGHT))[:-1]:
            client.stdin.write(chunk)
        client.stdin.flush()
        self.stop()
        process.kill(client)

    def restore(self):
        """A fresh copy of the crashed files."""
        shutil.rmtree(self.running, ignore_errors=True)
        process.run(["cp", "-a", self.crashed, self.running])

    def start(self):
        """Time from exec to the count of all rows."""
        began = time.perf_counter()
        self.server = start_server(self.running, self.sockets, self.log)
        process.wait_until(accepting(self.sockets), self.server, self.timeout)
        first = time.perf_counter() - began
        count = int(ask(self.sockets, "SELECT count(*) FROM rows"))
        total = time.perf_counter() - began
        if count != self.dataset.rows:
            raise PeerError(f"postgresql: {count} rows after recovery, expected {self.dataset.rows}")
        return {"total_s": total, "accepting_s": first}

    def check(self):
        """Compares sampled rows byte for byte."""
        keys = self.dataset.sample()
        among = ",".join(map(str, keys))
        found = ask(
            self.sockets,
            f"SELECT key || ' ' || encode(value, 'hex') FROM rows WHERE key IN ({among}) ORDER BY key",
        )
        expected = [f"{key} {self.dataset.value(key).hex()}" for key in keys]
        if found.split("\n") != expected:
            raise PeerError("postgresql: sampled rows came back changed")
        return len(keys)

    def stop(self):
        """Kills the server with all its workers, and frees what the kernel still holds for it."""
        kill_server(self.server, self.sockets)

    def files(self):
        """Where tables and log lie."""
        return self.running if os.path.isdir(self.running) else self.crashed


def kill_server(server, sockets):
    """Every server process leads a group of its own, so each is killed by its own id."""
    folder = server.args[2]
    segment = shared_segment(folder)
    workers = process.children(server.pid)
    process.kill(server)
    process.kill_processes(workers)
    if segment:
        subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)
    for leftover in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        process.remove_socket(os.path.join(sockets, leftover))


def shared_segment(folder):
    """The id of the small System V segment that guards a data folder, from postmaster.pid."""
    try:
        with open(os.path.join(folder, "postmaster.pid"), encoding="ascii") as lines:
            return lines.read().split("\n")[6].split()[1]
    except (FileNotFoundError, IndexError):
        return None


def prepare(mode, dataset, home, sockets):
    """Loads `dataset` and crashes; see `systems`."""
    return Stored(mode, dataset, home, sockets)


def commit(clients, seconds, row_bytes, place):
    """Inserts by pgbench, one transaction each; latencies from its transaction log."""
    root, sockets = place
    process.own_folder(root, USER)
    home, log = os.path.join(root, "data"), os.path.join(root, "postgresql.log")
    init(home, log)
    server = start_server(home, sockets, log)
    try:
        process.wait_until(accepting(sockets), server, 60)
        ask(sockets, "CREATE TABLE commits (key bigserial PRIMARY KEY, value text NOT NULL)")
        ask(sockets, "CHECKPOINT")
        bench(sockets, root, clients, 1, row_bytes)
        return bench(sockets, root, clients, seconds, row_bytes)
    finally:
        kill_server(server, sockets)


def bench(sockets, root, clients, seconds, row_bytes):
    """One pgbench run; its log has the latency of each transaction in microseconds, third column."""
    prefix = os.path.join(root, "pgbench")
    argv = [tool("pgbench"), "-n", "-M", "prepared", "-h", sockets, "-U", USER, "-l", f"--log-prefix={prefix}"]
    argv += ["-f", os.path.join(PROGRAMS, "postgresql_commit.sql"), "-D", f"value={'v' * row_bytes}"]
    argv += ["-c", str(clients), "-j", str(min(clients, os.cpu_count())), "-T", str(seconds), "postgres"]
    out = process.run(argv, seconds=seconds + 60)
    rate = next(float(line.split()[2]) for line in out.splitlines() if line.startswith("tps"))
    latencies = []
    for part in sorted(os.listdir(root)):
        if part.startswith("pgbench."):
            path = os.path.join(root, part)
            with open(path, encoding="ascii") as lines:
                latencies += [int(line.split()[2]) for line in lines]
            os.unlink(path)
    latencies.sort()
    return {
        "commits_per_s": rate,
        "p50_us": latencies[len(latencies) // 2],
        "p99_us": latencies[len(latencies) * 99 // 100],
    }
