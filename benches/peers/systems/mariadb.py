"""MariaDB 10.11, InnoDB: a table with a bigint primary key and a varbinary value.

Recovery mode `crash`: SIGKILL while a further transaction is open. The redo log has room for the
whole load, so what is replayed is whatever InnoDB had not yet flushed by itself. `accepting_s` is
the first statement answered, `total_s` the count of all rows, for which InnoDB reads the whole
table. It reads with O_DIRECT, so a warm page cache helps it little.
"""

import os
import shutil
import subprocess
import time

from harness import packages, process
from harness.process import PeerError

name = "mariadb"
packages_needed = ["mariadb-server", "mariadb-client"]
modes = ["crash"]
USER = "mysql"
ROWS_PER_LOAD = 500_000
ROWS_PER_SEND = 10_000
ROWS_IN_FLIGHT = 50_000
SETTINGS = [
    "--innodb-buffer-pool-size=4G",
    "--innodb-flush-log-at-trx-commit=1",
    "--skip-log-bin",
    "--skip-networking",
    "--skip-grant-tables",
    "--local-infile=1",
    "--max-allowed-packet=64M",
]
LOAD = (
    "LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE bench.rows_ CHARACTER SET binary "
    r"FIELDS TERMINATED BY '\t' LINES TERMINATED BY '\n' (id, value)"
)


def version():
    """As the binary tells it."""
    return process.run([packages.find("mariadbd"), "--no-defaults", "--version"]).split("Ver ")[1].split("-")[0]


def client(path, statement):
    """The command line of a client that prints bare values."""
    return [
        packages.find("mariadb"), "--no-defaults", "--socket", path, "--local-infile=1",
        "--batch", "--skip-column-names", "-e", statement,
    ]


def ask(path, statement):
    """The answer to a statement, stripped."""
    return process.run(client(path, statement)).strip()


def log_bytes_for(dataset):
    """Room in the redo log: twice the rows with their headers, so no checkpoint is forced."""
    return (128 << 20) + (2 * dataset.rows * (dataset.row_bytes + 50) >> 20 << 20)


def start_server(home, path, log, log_bytes):
    """The server's process; not yet accepting."""
    argv = [packages.find("mariadbd"), "--no-defaults", f"--datadir={home}", f"--socket={path}"]
    argv += [f"--pid-file={home}/server.pid", f"--innodb-log-file-size={log_bytes}", *SETTINGS]
    return process.start(argv, log, user=USER)


def accepting(path):
    """A probe for process.wait_until: True once a statement is answered."""
    def probe():
        if not os.path.exists(path):
            return None
        try:
            return ask(path, "SELECT 1") == "1" or None
        except PeerError:
            return None
    return probe


def load_chunks(dataset, first, end):
    """Lines of key, tab, value; the values have no byte that would need an escape."""
    for start in range(first, end, ROWS_PER_SEND):
        rows = dataset.values(start, min(start + ROWS_PER_SEND, end))
        yield b"".join([b"%d\t%b\n" % row for row in rows])


class Stored:
    """A crashed MariaDB, kept aside so that every run recovers the same files."""

    def __init__(self, mode, dataset, home, sockets):
        self.mode, self.dataset = mode, dataset
        process.own_folder(home, USER)
        self.path = os.path.join(sockets, "mariadb.sock")
        self.crashed = os.path.join(home, "crashed")
        self.running = os.path.join(home, "running")
        self.log = os.path.join(home, "mariadb.log")
        self.log_bytes = log_bytes_for(dataset)
        self.timeout = 120 + dataset.rows / 20_000
        self.server = None
        self.load_s = self.load()

    def load(self):
        """LOAD DATA in transactions of half a million rows, then one more that never ends."""
        argv = [packages.find("mariadb-install-db"), "--no-defaults", f"--datadir={self.crashed}"]
        process.run([*argv, "--auth-root-authentication-method=normal", "--skip-test-db"], user=USER)
        self.server = start_server(self.crashed, self.path, self.log, self.log_bytes)
        process.wait_until(accepting(self.path), self.server, 60)
        ask(self.path, "CREATE DATABASE bench")
        ask(self.path, "CREATE TABLE bench.rows_ (id BIGINT PRIMARY KEY, value VARBINARY(2000) NOT NULL) ENGINE=InnoDB")
        began = time.perf_counter()
        for first, end in self.dataset.chunks(ROWS_PER_LOAD):
            process.feed(client(self.path, LOAD), load_chunks(self.dataset, first, end))
        seconds = time.perf_counter() - began
        self.check()
        self.crash_in_flight()
        return seconds

    def crash_in_flight(self):
        """Kills the server in the middle of a transaction that must not be there afterwards."""
        rows = self.dataset.rows
        loader = process.start(client(self.path, LOAD), self.log, stdin=subprocess.PIPE)
        for chunk in load_chunks(self.dataset, rows, rows + ROWS_IN_FLIGHT):
            loader.stdin.write(chunk)
        loader.stdin.flush()
        self.stop()
        process.kill(loader)

    def restore(self):
        """A fresh copy of the crashed files."""
        shutil.rmtree(self.running, ignore_errors=True)
        process.run(["cp", "-a", self.crashed, self.running])

    def start(self):
        """Time from exec to the count of all rows."""
        process.remove_socket(self.path)
        began = time.perf_counter()
        self.server = start_server(self.running, self.path, self.log, self.log_bytes)
        process.wait_until(accepting(self.path), self.server, self.timeout)
        first = time.perf_counter() - began
        count = int(ask(self.path, "SELECT COUNT(*) FROM bench.rows_"))
        total = time.perf_counter() - began
        if count != self.dataset.rows:
            raise PeerError(f"mariadb: {count} rows after recovery, expected {self.dataset.rows}")
        return {"total_s": total, "accepting_s": first}

    def check(self):
        """Compares sampled rows byte for byte."""
        keys = self.dataset.sample()
        among = ",".join(map(str, keys))
        found = ask(self.path, f"SELECT id, LOWER(HEX(value)) FROM bench.rows_ WHERE id IN ({among}) ORDER BY id")
        expected = [f"{key}\t{self.dataset.value(key).hex()}" for key in keys]
        if found.split("\n") != expected:
            raise PeerError("mariadb: sampled rows came back changed")
        return len(keys)

    def stop(self):
        """Kills the server."""
        process.kill(self.server)
        process.remove_socket(self.path)

    def files(self):
        """Where tables and log lie."""
        return self.running if os.path.isdir(self.running) else self.crashed


def prepare(mode, dataset, home, sockets):
    """Loads `dataset` and crashes; see `systems`."""
    return Stored(mode, dataset, home, sockets)
