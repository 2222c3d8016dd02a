#!/usr/bin/env python3
"""sysbench through an aggregator of a cluster with two leaves, beside one node alone, on this machine, in turns.

    sysbench.py --binary target/release/resproutd [--before OLDER] [--seconds 4] [--runs 3] [--threads 1,8] [--json FILE]

Both run the same binary with the same partitions, rows and durability; the cluster has one copy of each partition, so what differs is
the way there. With `--before` a cluster of an older binary takes its turn too. Each turn runs all of them for a few seconds, one
after the other; a ratio is of one turn, and what is shown is the median of the turns. Beside transactions: processor time of the
servers, how often their threads waited, and TCP segments (the client's too), for each transaction. These hardly depend on what
else the machine does.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))

import members  # noqa: E402  (needs the lines above first)
from harness import device, packages, process  # noqa: E402

TESTS = "oltp_point_select,oltp_read_only,oltp_insert,oltp_write_only,oltp_read_write"
TABLES, PARTITIONS = 4, 8
TICKS = os.sysconf("SC_CLK_TCK")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="resproutd")
    parser.add_argument("--before", help="an older resproutd, whose cluster is measured too")
    parser.add_argument("--tests", default=TESTS)
    parser.add_argument("--threads", default="1,8", help="client counts")
    parser.add_argument("--seconds", type=int, default=4, help="of each run of sysbench")
    parser.add_argument("--runs", type=int, default=3, help="turns for each figure")
    parser.add_argument("--table-size", type=int, default=10000)
    parser.add_argument("--durability", choices=["sync", "async"], default="sync")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args(argv)


class Measured(members.System):
    """A system that sysbench runs against."""

    def prepare(self, options):
        durability = f"WITH {options.durability.upper()} DURABILITY"
        self.until(f"CREATE DATABASE IF NOT EXISTS sbtest PARTITIONS {PARTITIONS} {durability}")
        self.sql("CREATE USER bench@'%' IDENTIFIED WITH mysql_native_password BY 'bench'; GRANT ALL ON *.* TO bench@'%'")
        self.sysbench("oltp_read_write", options, 1, "prepare")

    def sysbench(self, test, options, threads, step):
        command = [packages.find("sysbench"), test, "--db-driver=mysql", "--mysql-host=127.0.0.1"]
        command += [f"--mysql-port={self.port}", "--mysql-user=bench", "--mysql-password=bench", f"--tables={TABLES}"]
        command += [f"--table-size={options.table_size}", f"--threads={threads}", f"--time={options.seconds}", step]
        return process.run(command)

    def counters(self):
        """Processor time in microseconds, waits of threads, segments sent on this machine."""
        ticks = waits = 0
        for child in self.children:
            with open(f"/proc/{child.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
            for task in os.listdir(f"/proc/{child.pid}/task"):
                try:
                    with open(f"/proc/{child.pid}/task/{task}/status") as status:
                        waits += next(int(line.split()[1]) for line in status if line.startswith("voluntary"))
                except (FileNotFoundError, ProcessLookupError):
                    pass  # it ended meanwhile
        with open("/proc/net/snmp") as snmp:
            names, values = [line.split() for line in snmp if line.startswith("Tcp:")]
        return ticks * 1_000_000 / TICKS, waits, int(values[names.index("OutSegs")])

    def run(self, test, options, threads):
        before = self.counters()
        said = self.sysbench(test, options, threads, "run")
        spent = [after - then for after, then in zip(self.counters(), before)]
        done = int(said.split("transactions:")[1].split("(")[0])
        rate = float(said.split("transactions:")[1].split("(")[1].split(" ")[0])
        names = ("cpu_us", "waits", "segments")
        return {"tps": rate, **{name: value / max(done, 1) for name, value in zip(names, spent)}}


def start_node(options, folder):
    port = members.free_port()
    os.environ["RESPROUT_ROOT_PASSWORD"] = "secret"
    argv = [options.binary, "node", "--data", os.path.join(folder, "node"), "--sql", f"127.0.0.1:{port}"]
    system = Measured("node", port, [process.start(argv, os.path.join(folder, "node.log"))])
    system.account += ["-psecret"]
    system.until("SELECT 1")
    return system


def start_cluster(name, binary, folder):
    return members.start(Measured, binary, folder, name)[0]


def measure(options, systems):
    found = {}
    for test in options.tests.split(","):
        for threads in map(int, options.threads.split(",")):
            turns = [{system.name: system.run(test, options, threads) for system in systems} for _ in range(options.runs)]
            found[f"{test}, {threads}"] = turns
            show(f"{test}, {threads}", turns)
    return found


def show(name, turns):
    """Medians of the turns; ratios are of one turn each."""
    print(name)
    for system in turns[0]:
        median = {key: statistics.median(turn[system][key] for turn in turns) for key in turns[0][system]}
        ratio = statistics.median(turn[system]["tps"] / turn["node"]["tps"] for turn in turns)
        print(f"  {system:10}{median['tps']:10,.0f}/s  {ratio:5.2f} of the node  {median['cpu_us']:8,.0f} us"
              f"  {median['waits']:6.1f} waits  {median['segments']:6.1f} segments", flush=True)


def main(argv):
    options = parse(argv)
    process.stop_on_signals()
    needed = ["mariadb-client", "sysbench"]
    if packages.missing(needed):
        packages.install(needed)
    with tempfile.TemporaryDirectory(prefix="resprout-sysbench-") as folder:
        try:
            systems = [start_node(options, folder), start_cluster("cluster", options.binary, folder)]
            if options.before:
                systems.append(start_cluster("before", options.before, folder))
            for system in systems:
                began = time.monotonic()
                system.prepare(options)
                print(f"{system.name}: {TABLES * options.table_size} rows in {time.monotonic() - began:.1f} s", flush=True)
            found = measure(options, systems)
            flush_us = device.WriteProbe(folder).p50_us()
        finally:
            process.kill_all()
    print(f"a bare durable write, us: {flush_us}")
    if options.json:
        with open(options.json, "w") as out:
            report = {"bench": "cluster sysbench", "durability": options.durability, "host": device.host()}
            json.dump({**report, "flush_us": flush_us, "found": found}, out, indent=1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except process.PeerError as error:
        sys.exit(f"error: {error}")
