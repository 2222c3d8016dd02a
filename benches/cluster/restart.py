#!/usr/bin/env python3
"""A leaf with much data that stops in order and starts again, beside the device read alone, on this machine.

    restart.py --binary target/release/resproutd [--gib 5] [--runs 3] [--json FILE]

A cluster of one aggregator and one leaf, one copy of each partition; rows of a kilobyte. The leaf is stopped by SIGTERM, the page
cache is emptied, the leaf is started, and the time is taken until a row of each partition has been read through the aggregator.
Behind each start rows are counted and summed up. The bound is what the leaf has on disk, read at the speed of the device, which is
measured before and after: a run is set beside the mean.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import members  # noqa: E402  (needs the line above first)
from harness import device, packages, process  # noqa: E402

PARTITIONS = 8
ROW_BYTES = 1000
PIECE_ROWS = 200_000
SUMS = "SELECT COUNT(*), SUM(k), MIN(LENGTH(pad)), MAX(LENGTH(pad)) FROM t"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="resproutd")
    parser.add_argument("--gib", type=float, default=5, help="of rows")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    return parser.parse_args(argv)


def fill(system, folder, rows):
    """Loads the rows; gives what their sums have to be."""
    system.until(f"CREATE DATABASE IF NOT EXISTS d PARTITIONS {PARTITIONS} WITH ASYNC DURABILITY")
    system.sql(f"CREATE TABLE d.t (id INT PRIMARY KEY, k INT NOT NULL, pad VARCHAR({ROW_BYTES}) NOT NULL)")
    path, total = os.path.join(folder, "rows.txt"), 0
    for begin in range(0, rows, PIECE_ROWS):
        end = min(rows, begin + PIECE_ROWS)
        with open(path, "w") as out:
            for number in range(begin, end):
                k = number * 7919 % 1_000_003
                total += k
                out.write(f"{number}\t{k}\t{number:0{ROW_BYTES}x}\n")
        system.sql(f"USE d; LOAD DATA LOCAL INFILE '{path}' INTO TABLE t")
    os.remove(path)
    return f"{rows}\t{total}\t{ROW_BYTES}\t{ROW_BYTES}"


def restart(options, system, folder, words):
    """Stops the leaf and starts it again; seconds of both."""
    leaf = system.children[1]
    began = time.monotonic()
    leaf.send_signal(signal.SIGTERM)
    leaf.wait(timeout=600)
    stopped = time.monotonic() - began
    device.drop_page_cache()
    began = time.monotonic()
    system.children[1] = members.member(options.binary, folder, "cluster-1", *words)
    # Any 64 rows have some of each partition.
    system.until("USE d; SELECT SUM(k) FROM t WHERE id < 64", 600, 0.02)
    return stopped, time.monotonic() - began


def main(argv):
    options = parse(argv)
    process.stop_on_signals()
    if packages.missing(["mariadb-client"]):
        packages.install(["mariadb-client"])
    with tempfile.TemporaryDirectory(prefix="resprout-restart-", dir="/var/tmp") as folder:
        try:
            memory = int((options.gib + 1) * 1.5 * 2**30)
            system, ports = members.start(members.System, options.binary, folder, "cluster", 1, memory)
            expected = fill(system, folder, int(options.gib * 2**30 / ROW_BYTES))
            words, runs = (ports[0], ["--maximum-memory", str(memory)]), []
            read = device.sequential_read(folder)["sequential_read_bytes_per_s"]
            for _ in range(options.runs):
                stopped, started = restart(options, system, folder, words)
                found = system.sql("USE d; " + SUMS).strip()
                if found != expected:
                    raise process.PeerError(f"rows are missing: {found!r} instead of {expected!r}")
                on_disk = device.bytes_below(os.path.join(folder, "cluster-1"))
                again = device.sequential_read(folder)["sequential_read_bytes_per_s"]
                bound, read = on_disk / ((read + again) / 2), again
                runs.append({"stop_s": stopped, "start_s": started, "bytes_on_disk": on_disk, "bound_s": bound})
                print(f"stop {stopped:.2f} s, start to rows {started:.2f} s; {on_disk / 2**30:.2f} GiB on disk, read alone {bound:.2f} s:"
                      f" {bound / started:.2f} of the device", flush=True)
        finally:
            process.kill_all()
    share = statistics.median(run["bound_s"] / run["start_s"] for run in runs)
    print(f"median: {share:.2f} of the device")
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"bench": "cluster restart", "gib": options.gib, "host": device.host(), "runs": runs}, out, indent=1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except process.PeerError as error:
        sys.exit(f"error: {error}")
