"""Redis 7: a string per row, the key as eight bytes.

Recovery modes: `rdb` (a snapshot, no log), `aof` (a log of one SET per row, no RDB preamble, never
rewritten, so every row is replayed), `aof-mset` (the same log written 1,000 rows a command, the
kindest log that Redis can have). Commits: `appendfsync always`, driven by redis-benchmark without
pipelining.
"""

import os
import socket
import struct
import time

from harness import packages, process
from harness.process import PeerError

name = "redis"
packages_needed = ["redis-server", "redis-tools"]
modes = ["rdb", "aof", "aof-mset"]
commit_mode = "appendfsync=always"
ROWS_PER_SEND = 10_000
ROWS_PER_MSET = 1_000


def version():
    """As the binary tells it, without its build details."""
    return process.run([packages.find("redis-server"), "--version"]).split("v=")[1].split()[0]


class Connection:
    """As much of the protocol as is needed: requests as arrays of strings, four kinds of reply."""

    def __init__(self, path, seconds=600):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.replies = self.socket.makefile("rb")

    def call(self, *words):
        """One request and its reply; an error reply is raised as PeerError."""
        self.socket.sendall(encode(*words))
        return self.reply()

    def reply(self):
        """The next reply: str, int, bytes or None."""
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise PeerError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.replies.read(size + 2)[:-2]
        raise PeerError(f"redis: {rest.decode('utf-8', 'replace')}")

    def close(self):
        """Closes both directions."""
        self.replies.close()
        self.socket.close()


def encode(*words):
    """One request in the wire format."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def key_bytes(key):
    """The eight bytes under which row `key` is stored."""
    return struct.pack(">Q", key)


def encode_sets(rows, row_bytes):
    """One SET per row; about ten times faster than encode() per row."""
    head = b"*3\r\n$3\r\nSET\r\n$8\r\n%b\r\n$" + str(row_bytes).encode() + b"\r\n%b\r\n"
    pack = struct.Struct(">Q").pack
    return b"".join([head % (pack(key), value) for key, value in rows])


def encode_msets(rows, row_bytes):
    """One MSET per ROWS_PER_MSET rows."""
    pair = b"$8\r\n%b\r\n$" + str(row_bytes).encode() + b"\r\n%b\r\n"
    pack = struct.Struct(">Q").pack
    pairs = [pair % (pack(key), value) for key, value in rows]
    out = []
    for first in range(0, len(pairs), ROWS_PER_MSET):
        some = pairs[first:first + ROWS_PER_MSET]
        out.append(b"*%d\r\n$4\r\nMSET\r\n" % (1 + 2 * len(some)))
        out.extend(some)
    return b"".join(out)


def arguments(home, path, **settings):
    """The command line of a server on `home` that nobody but us can reach."""
    fixed = {"port": 0, "unixsocket": path, "dir": home, "save": "", "daemonize": "no"}
    argv = [packages.find("redis-server")]
    for key, value in {**fixed, **settings}.items():
        argv += ["--" + key.replace("_", "-"), str(value)]
    return argv


class Stored:
    """A loaded Redis: see `systems`."""

    def __init__(self, mode, dataset, home, sockets):
        self.mode, self.dataset, self.home = mode, dataset, process.own_folder(home)
        self.path = os.path.join(sockets, "redis.sock")
        self.log = os.path.join(home, "redis.log")
        self.server = self.connection = None
        self.timeout = 120 + dataset.rows / 50_000
        self.load_s = self.load()

    def settings(self):
        """Log or no log; the log is never rewritten, so it stays a log."""
        if self.mode == "rdb":
            return {"appendonly": "no"}
        return {
            "appendonly": "yes",
            "aof_use_rdb_preamble": "no",
            "auto_aof_rewrite_percentage": 0,
            "appendfsync": "everysec",
        }

    def load(self):
        """Fills the server without waiting for replies, stores the rows, stops it."""
        self.start(expect=0)
        write = encode_msets if self.mode == "aof-mset" else encode_sets
        began = time.perf_counter()
        self.connection.socket.sendall(encode("CLIENT", "REPLY", "OFF"))
        for first, end in self.dataset.chunks(ROWS_PER_SEND):
            rows = self.dataset.values(first, end)
            self.connection.socket.sendall(write(rows, self.dataset.row_bytes))
        if self.connection.call("CLIENT", "REPLY", "ON") != "OK":
            raise PeerError("redis did not take its replies back on")
        self.demand_rows()
        if self.mode == "rdb":
            self.connection.call("SAVE")
        seconds = time.perf_counter() - began
        self.check()
        # With a log on, a shutdown flushes it; without one, SAVE above has stored everything.
        self.connection.socket.sendall(encode("SHUTDOWN", "NOSAVE"))
        self.server.wait(timeout=60)
        self.stop()
        return seconds

    def start(self, expect=None):
        """Time from exec to the answer that all rows are there."""
        rows = self.dataset.rows if expect is None else expect
        process.remove_socket(self.path)
        argv = arguments(self.home, self.path, **self.settings())
        began = time.perf_counter()
        self.server = process.start(argv, self.log)
        self.connection = process.wait_until(self.connect, self.server, self.timeout)
        accepting = time.perf_counter() - began
        count = process.wait_until(self.count, self.server, self.timeout)
        total = time.perf_counter() - began
        if count != rows:
            raise PeerError(f"redis {self.mode}: {count} rows after start, expected {rows}")
        return {"total_s": total, "accepting_s": accepting}

    def connect(self):
        """A connection, or None while there is no socket yet."""
        try:
            return Connection(self.path)
        except OSError:
            return None

    def count(self):
        """The number of rows, or None while the server says that it is loading."""
        try:
            return self.connection.call("DBSIZE")
        except PeerError as refused:
            if "LOADING" in str(refused):
                return None
            raise

    def demand_rows(self):
        """The load is whole, or there is nothing to measure."""
        count = self.connection.call("DBSIZE")
        if count != self.dataset.rows:
            raise PeerError(f"redis {self.mode}: {count} rows loaded of {self.dataset.rows}")

    def check(self):
        """Compares sampled rows byte for byte."""
        keys = self.dataset.sample()
        for key in keys:
            if self.connection.call("GET", key_bytes(key)) != self.dataset.value(key):
                raise PeerError(f"redis {self.mode}: row {key} came back changed")
        return len(keys)

    def stop(self):
        """Kills the server."""
        self.connection.close()
        process.kill(self.server)

    def files(self):
        """Where snapshot and log lie."""
        return self.home


def prepare(mode, dataset, home, sockets):
    """Loads `dataset`; see `systems`."""
    return Stored(mode, dataset, home, sockets)


def commit(clients, seconds, row_bytes, place):
    """Durable SETs by redis-benchmark, its size fitted to `seconds` by a short run before."""
    home, sockets = place
    process.own_folder(home)
    path = os.path.join(sockets, "redis.sock")
    process.remove_socket(path)
    argv = arguments(home, path, appendonly="yes", appendfsync="always", auto_aof_rewrite_percentage=0)
    server = process.start(argv, os.path.join(home, "redis.log"))
    try:
        def ping():
            try:
                return Connection(path)
            except OSError:
                return None
        process.wait_until(ping, server, 60).close()
        trial = benchmark(path, clients, 1_000 * min(clients, 8), row_bytes)
        requests = max(clients * 10, int(trial["commits_per_s"] * seconds))
        return benchmark(path, clients, requests, row_bytes)
    finally:
        process.kill(server)


def benchmark(path, clients, requests, row_bytes):
    """One redis-benchmark run: "SET","rps","avg","min","p50","p95","p99","max", in ms."""
    argv = [packages.find("redis-benchmark"), "-s", path, "-t", "set", "-n", requests, "-c", clients]
    argv += ["-d", row_bytes, "-r", 10_000_000, "-P", 1, "--csv"]
    lines = process.run([str(word) for word in argv], seconds=120).strip().splitlines()
    fields = [field.strip('"') for field in lines[-1].split(",")]
    return {
        "commits_per_s": float(fields[1]),
        "p50_us": round(float(fields[4]) * 1000, 1),
        "p99_us": round(float(fields[6]) * 1000, 1),
    }
