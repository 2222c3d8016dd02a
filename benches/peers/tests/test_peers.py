"""Promises that need the peers themselves; those not installed are skipped.

Run: python3 -m unittest discover benches/peers/tests (as root, for the page cache).
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.dont_write_bytecode = True

from harness import packages, process  # noqa: E402
from harness.dataset import Dataset  # noqa: E402
from systems import mariadb, postgresql, redis, rocksdb, tarantool  # noqa: E402

ROWS = 3_000


def tearDownModule():
    """Removes what was built on the way."""
    process.clean_up()
    rocksdb.BUILT.clear()


def installed(system):
    """Skips a test whose peer is not on this machine; tests install nothing."""
    return unittest.skipIf(packages.missing(system.packages_needed), f"{system.name} is not installed")


class Recovery(unittest.TestCase):
    """Every peer brings back every row, and a peer that does not is never reported."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="resprout-peers-test-")
        os.chmod(self.folder, 0o777)
        self.home = os.path.join(self.folder, "home")
        self.data = Dataset(ROWS, 100)

    def tearDown(self):
        process.kill_all()
        shutil.rmtree(self.folder)

    def load(self, system, mode):
        """A loaded and stopped peer."""
        return system.prepare(mode, self.data, self.home, self.folder)

    def round_trip(self, system, mode):
        """Two recoveries of the same files, both whole."""
        stored = self.load(system, mode)
        for _ in range(2):
            if hasattr(stored, "restore"):
                stored.restore()
            self.assertGreater(stored.start()["total_s"], 0)
            self.assertEqual(stored.check(), len(self.data.sample()))
            stored.stop()
        return stored

    @installed(redis)
    def test_redis_rdb(self):
        """Promise: only the snapshot is read."""
        stored = self.round_trip(redis, "rdb")
        self.assertEqual(glob.glob(stored.home + "/appendonlydir*"), [])
        self.assertTrue(os.path.exists(stored.home + "/dump.rdb"))

    @installed(redis)
    def test_redis_aof(self):
        """Promise: real log replay, every row in the log and none in a base file."""
        for mode in ("aof", "aof-mset"):
            with self.subTest(mode):
                stored = self.round_trip(redis, mode)
                base, = glob.glob(stored.home + "/appendonlydir/*.base.*")
                log, = glob.glob(stored.home + "/appendonlydir/*.incr.aof")
                self.assertLess(os.path.getsize(base), 200)
                self.assertGreater(os.path.getsize(log), ROWS * 108)
                shutil.rmtree(self.home)

    @installed(tarantool)
    def test_tarantool(self):
        """Promise: the rows lie in the snapshot only, or in the log only."""
        for mode, holder, other in (("snapshot", "snap", "xlog"), ("xlog", "xlog", "snap")):
            with self.subTest(mode):
                stored = self.round_trip(tarantool, mode)
                sizes = {
                    kind: sum(map(os.path.getsize, glob.glob(f"{stored.home}/*.{kind}"))) for kind in (holder, other)
                }
                self.assertGreater(sizes[holder], ROWS * 100)
                self.assertLess(sizes[other], 50_000)
                shutil.rmtree(self.home)

    @installed(postgresql)
    def test_postgresql_crash(self):
        """Promise: it was a crash with work in flight, and none of that came back."""
        stored = self.round_trip(postgresql, "crash")
        with open(stored.log, encoding="utf-8") as log:
            self.assertIn("redo starts at", log.read())

    @installed(mariadb)
    def test_mariadb_crash(self):
        """Promise: it was a crash, and InnoDB says so."""
        stored = self.round_trip(mariadb, "crash")
        with open(stored.log, encoding="utf-8") as log:
            self.assertIn("Starting crash recovery from checkpoint", log.read())

    @installed(redis)
    def test_lost_rows_are_an_error(self):
        """Promise: a bench that does not verify its data does not count (count)."""
        stored = self.load(redis, "aof")
        log, = glob.glob(stored.home + "/appendonlydir/*.incr.aof")
        os.truncate(log, os.path.getsize(log) - 50)
        with self.assertRaisesRegex(process.PeerError, f"{ROWS - 1} rows after start"):
            stored.start()

    @installed(redis)
    def test_changed_rows_are_an_error(self):
        """Promise: a bench that does not verify its data does not count (bytes)."""
        stored = self.load(redis, "aof")
        log, = glob.glob(stored.home + "/appendonlydir/*.incr.aof")
        with open(log, "r+b") as out:
            out.seek(-10, os.SEEK_END)
            out.write(b"????????")
        stored.start()
        with self.assertRaisesRegex(process.PeerError, f"row {ROWS - 1} came back changed"):
            stored.check()


class Commits(unittest.TestCase):
    """Commit rates come from peers that really flush."""

    def commits(self, system, clients):
        """One short run."""
        with tempfile.TemporaryDirectory(prefix="resprout-peers-test-") as folder:
            os.chmod(folder, 0o777)
            return system.commit(clients, 1, 100, (os.path.join(folder, "home"), folder))

    def plausible(self, system):
        """Rates and latencies that belong together: clients / rate is the mean latency."""
        for clients in (1, 8):
            found = self.commits(system, clients)
            self.assertGreater(found["commits_per_s"], 10)
            self.assertLessEqual(found["p50_us"], found["p99_us"])
            mean_us = clients / found["commits_per_s"] * 1e6
            self.assertLess(found["p50_us"] / 3, mean_us)

    test_redis = installed(redis)(lambda self: self.plausible(redis))
    test_tarantool = installed(tarantool)(lambda self: self.plausible(tarantool))
    test_postgresql = installed(postgresql)(lambda self: self.plausible(postgresql))
    test_rocksdb = installed(rocksdb)(lambda self: self.plausible(rocksdb))


class Driver(unittest.TestCase):
    """The command line, its report, and what it leaves behind."""

    def drive(self, *words):
        """One run of the driver; its exit code and its report."""
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "report.json")
            argv = [sys.executable, os.path.join(ROOT, "run.py"), *words, "--json", out, "--patience", "0"]
            argv += ["--data", os.path.join(folder, "data"), "--no-install"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
            self.assertEqual(glob.glob(folder + "/data*"), [], "files were left behind")
            if not os.path.exists(out):
                return done.returncode, done.stderr
            with open(out, encoding="utf-8") as report:
                return done.returncode, json.load(report)

    @installed(redis)
    def test_recovery_report(self):
        """Promise: the names that other tools read."""
        code, found = self.drive("recovery", "--rows", "2000", "--runs", "1", "--peers", "redis:rdb", "--cold")
        self.assertEqual(code, 0)
        self.assertEqual((found["schema_version"], found["bench"], found["rows"]), (1, "peers-recovery", 2000))
        self.assertGreater(found["device"]["sequential_read_bytes_per_s"], 0)
        peer, = found["peers"]
        self.assertEqual((peer["name"], peer["mode"], peer["cold"]), ("redis", "rdb", True))
        self.assertTrue(peer["runs"][0]["verified"])
        self.assertEqual(peer["median"]["total_s"], peer["runs"][0]["total_s"])

    def test_unknown_peer_is_one_clear_error(self):
        """Promise: bad input changes nothing."""
        code, error = self.drive("recovery", "--peers", "oracle")
        self.assertEqual(code, 2)
        self.assertIn("'oracle' is not one of redis", error)


if __name__ == "__main__":
    unittest.main()
