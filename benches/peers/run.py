#!/usr/bin/env python3
"""Drives other systems through what Resprout is measured at, on this machine.

    run.py recovery    rows on disk -> every row answers, cold and warm
    run.py commit      durable single-row commits, by number of clients

Peers are installed from the distribution's packages if they are missing and we are root; a peer
that cannot be had is reported as skipped, and so is one that fails. Servers listen on Unix sockets
only, run one at a time, and are gone afterwards together with their files.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True

from harness import bench, process, report  # noqa: E402  (needs the line above first)

ALL = ["redis", "tarantool", "mariadb", "postgresql", "rocksdb"]


def integers(text):
    """`1,8,64` as a list."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise ValueError(text)
    return values


def positive(text):
    """A whole number of at least one."""
    return integers(text)[0]


def parse(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bench", choices=["recovery", "commit"])
    parser.add_argument("--rows", type=positive, default=10_000_000, help="rows of the table (recovery)")
    parser.add_argument("--row-bytes", type=positive, default=100, help="bytes of a value, beside the 8-byte key")
    parser.add_argument("--clients", type=integers, default=[1, 8, 64], help="client counts, as 1,8,64 (commit)")
    parser.add_argument("--seconds", type=positive, default=5, help="length of one commit run")
    parser.add_argument("--runs", type=positive, default=3, help="runs of each; medians are reported")
    parser.add_argument("--peers", default=",".join(ALL), help="names, or name:mode for one mode of a peer")
    parser.add_argument("--data", default="./target/peers", help="folder for the peers' files, removed afterwards")
    parser.add_argument("--json", metavar="FILE", help="write the whole report there")
    parser.add_argument("--patience", type=float, default=20, metavar="S", help="wait so long for a quiet machine")
    parser.add_argument("--repeats", type=int, default=2, help="tries more for a run that is mixed or disturbed")
    parser.add_argument("--no-install", action="store_true", help="use only what is installed")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--cold", action="store_true", help="cold runs only (recovery)")
    only.add_argument("--warm", action="store_true", help="warm runs only (recovery)")
    options = parser.parse_args(argv)
    for peer in options.peers.split(","):
        if peer.split(":")[0] not in ALL:
            parser.error(f"--peers: {peer!r} is not one of {', '.join(ALL)}")
    return options


def main(argv):
    """Runs one bench; exit code 0 also when peers were skipped, 1 when none could be measured."""
    options = parse(argv)
    process.stop_on_signals()
    os.makedirs(options.data, exist_ok=True)
    # Readable by the users that packages make for their servers, which mkdtemp's mode is not.
    options.work = process.adopt_folder(tempfile.mkdtemp(prefix="run-", dir=os.path.abspath(options.data)))
    # Socket paths end at 107 bytes, so they lie apart from data that may lie deep.
    options.sockets = process.adopt_folder(tempfile.mkdtemp(prefix="resprout-peers-"))
    os.chmod(options.work, 0o755)
    os.chmod(options.sockets, 0o777)
    try:
        found = bench.recovery(options) if options.bench == "recovery" else bench.commit(options)
    finally:
        process.clean_up()
        if not os.listdir(options.data):
            shutil.rmtree(options.data)
    print(report.table(found))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=2)
            out.write("\n")
    return 0 if any("skipped" not in peer for peer in found["peers"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
