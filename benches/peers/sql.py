#!/usr/bin/env python3
"""A node beside MariaDB 10.11 on the same statements, on this machine, in turns.

    sql.py --binary target/release/resproutd [--seconds 10] [--threads 1,8,32] [--json FILE]

sysbench's oltp tests (transactions/s), LOAD DATA LOCAL of a million rows (rows/s), and MIN, MAX, COUNT over them
(milliseconds, the client included). Sync durability stands beside innodb_flush_log_at_trx_commit=1, async beside 2. Runs
of the two take turns; each figure is the median of `--runs`. The client shares the processors with the server. What was
loaded is compared between the two before anything counts.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

from harness import device, packages, process  # noqa: E402  (needs the line above first)

TESTS = ["oltp_point_select", "oltp_read_only", "oltp_write_only", "oltp_read_write", "oltp_insert"]
ROWS = 1_000_000
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(30), pad CHAR(60))"
AGGREGATE = "SELECT MIN(k), MAX(k), COUNT(*) FROM t"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="resproutd, built with --release")
    parser.add_argument("--seconds", type=int, default=10, help="of each run of sysbench")
    parser.add_argument("--threads", default="1,8", help="client counts")
    parser.add_argument("--runs", type=int, default=3, help="of each figure")
    parser.add_argument("--durability", choices=["sync", "async"], default="sync")
    parser.add_argument("--rows", type=int, default=ROWS, help="of LOAD DATA and of the aggregate")
    parser.add_argument("--tests", default=",".join(TESTS), help="of sysbench; an empty word for none")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args(argv)


class Server:
    """One of the two, on a port of its own."""

    def __init__(self, name, port, child, password):
        self.name, self.port, self.child, self.password = name, port, child, password

    def mysql(self, *words):
        client = [packages.find("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port)]
        client += ["-u", "bench", f"-p{self.password}", "--local-infile=1", "-N", "-B", *words]
        return process.run(client).strip()

    def sysbench(self, test, threads, seconds, step):
        command = [packages.find("sysbench"), test, "--db-driver=mysql", "--mysql-host=127.0.0.1"]
        command += [f"--mysql-port={self.port}", "--mysql-user=bench", f"--mysql-password={self.password}"]
        command += ["--tables=4", "--table-size=100000", f"--threads={threads}", f"--time={seconds}", step]
        return process.run(command)

    def transactions(self, test, threads, seconds):
        said = self.sysbench(test, threads, seconds, "run")
        return float(said.split("transactions:")[1].split("(")[1].split(" ")[0])

    def load(self, file, rows):
        """Rows a second of a load into an empty table."""
        self.mysql("sbtest", "-e", "TRUNCATE TABLE t")
        began = time.monotonic()
        self.mysql("sbtest", "-e", f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE t")
        return rows / (time.monotonic() - began)

    def aggregate(self):
        """Milliseconds, the start of the client taken off."""
        def once(statement):
            began = time.monotonic()
            self.mysql("sbtest", "-e", statement)
            return time.monotonic() - began
        return (once(AGGREGATE) - once("SELECT 1")) * 1000


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_ours(options, folder):
    """A new node whose root has a password, and an account as the other has it."""
    port, data = free_port(), os.path.join(folder, "ours")
    os.environ["RESPROUT_ROOT_PASSWORD"] = "secret"
    argv = [options.binary, "node", "--data", data, "--sql", f"127.0.0.1:{port}"]
    child = process.start(argv, os.path.join(folder, "ours.log"))
    root = [packages.find("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", str(port), "-u", "root", "-psecret"]
    prepare = "CREATE USER bench@'%' IDENTIFIED WITH mysql_native_password BY 'bench'; GRANT ALL ON *.* TO bench@'%';"
    prepare += f"CREATE DATABASE sbtest PARTITIONS 8 WITH {options.durability.upper()} DURABILITY"
    wait(lambda: process.run([*root, "-e", "SELECT 1"]), child)
    process.run([*root, "-e", prepare])
    return Server("resprout", port, child, "bench")


def start_mariadb(options, folder):
    port, home = free_port(), os.path.join(folder, "mariadb")
    process.own_folder(home, "mysql")
    install = [packages.find("mariadb-install-db"), "--no-defaults", f"--datadir={home}", "--user=mysql"]
    process.run([*install, "--auth-root-authentication-method=normal"])
    flush = 1 if options.durability == "sync" else 2
    socket = os.path.join(home, "s")
    argv = [packages.find("mariadbd"), "--no-defaults", f"--datadir={home}", f"--port={port}", f"--socket={socket}"]
    argv += ["--bind-address=127.0.0.1", f"--innodb-flush-log-at-trx-commit={flush}", "--innodb-buffer-pool-size=2G"]
    child = process.start([*argv, "--local-infile=1", "--skip-log-bin"], os.path.join(folder, "mariadb.log"), user="mysql")
    root = [packages.find("mariadb"), "--no-defaults", "--socket", socket, "-u", "root"]
    wait(lambda: process.run([*root, "-e", "SELECT 1"]), child)
    prepare = "CREATE USER bench@'%' IDENTIFIED BY 'bench'; GRANT ALL ON *.* TO bench@'%'; CREATE DATABASE sbtest;"
    process.run([*root, "-e", prepare + "DELETE FROM mysql.user WHERE user = ''; FLUSH PRIVILEGES"])
    return Server("mariadb", port, child, "bench")


def wait(ask, child):
    def probe():
        try:
            return ask()
        except process.PeerError:
            return None
    process.wait_until(probe, child, 60, 0.2)


def rows_file(folder, rows):
    drawn = random.Random(1)
    path = os.path.join(folder, "rows.tsv")
    with open(path, "w") as out:
        for row in range(1, rows + 1):
            c, pad = drawn.getrandbits(120), drawn.getrandbits(160)
            out.write(f"{row}\t{drawn.randint(1, 500_000)}\t{c:030x}\t{pad:040x}\n")
    return path


def medians(servers, runs, measure):
    """Runs take turns."""
    found = {server.name: [] for server in servers}
    for _ in range(runs):
        for server in servers:
            found[server.name].append(measure(server))
    return {name: statistics.median(values) for name, values in found.items()}


def measure(options, folder, servers):
    file = rows_file(folder, options.rows)
    for server in servers:
        server.mysql("sbtest", "-e", TABLE)
        server.sysbench("oltp_read_write", 1, 1, "prepare")
    found = {"LOAD DATA, rows/s": medians(servers, options.runs, lambda server: server.load(file, options.rows))}
    same = {server.mysql("sbtest", "-e", "SELECT COUNT(*), SUM(k), MIN(c), MAX(pad) FROM t") for server in servers}
    if len(same) != 1:
        raise process.PeerError(f"the two loaded different rows: {same}")
    found["MIN, MAX, COUNT, ms"] = medians(servers, options.runs, Server.aggregate)
    for test in filter(None, options.tests.split(",")):
        for threads in options.threads.split(","):
            def run(server, test=test, threads=threads):
                return server.transactions(test, threads, options.seconds)
            found[f"{test}, {threads} threads, tps"] = medians(servers, options.runs, run)
    return found


def show(found):
    print(f"{'':42}{'resprout':>12}{'mariadb':>12}{'ratio':>8}")
    for name, values in found.items():
        ours, theirs = values["resprout"], values["mariadb"]
        ratio = theirs / ours if name.endswith("ms") else ours / theirs
        print(f"{name:42}{ours:12,.0f}{theirs:12,.0f}{ratio:8.2f}")


def main(argv):
    options = parse(argv)
    process.stop_on_signals()
    needed = ["mariadb-server", "mariadb-client", "sysbench"]
    if packages.missing(needed):
        packages.install(needed)
    with tempfile.TemporaryDirectory(prefix="resprout-sql-") as folder:
        os.chmod(folder, 0o755)
        try:
            servers = [start_ours(options, folder), start_mariadb(options, folder)]
            probe = device.WriteProbe(folder)
            before = probe.p50_us()
            found = measure(options, folder, servers)
            flush_us = {"before": before, "after": probe.p50_us()}
        finally:
            process.kill_all()
    show(found)
    print(f"a bare durable write, us: {flush_us}")
    if options.json:
        report = {"bench": "sql", "durability": options.durability, "host": device.host(), "found": found}
        report["flush_us"] = flush_us
        with open(options.json, "w") as out:
            json.dump(report, out, indent=1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (process.PeerError, subprocess.SubprocessError) as error:
        sys.exit(f"error: {error}")
