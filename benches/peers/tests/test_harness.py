"""Promises of the harness that need no server. Run: python3 -m unittest discover benches/peers/tests"""

import os
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True

from harness import bench, device, packages, process, quiet  # noqa: E402
from harness.dataset import Dataset  # noqa: E402
from systems import mariadb, postgresql, redis  # noqa: E402


class Rows(unittest.TestCase):
    """The rows are the same everywhere, and unlike each other."""

    @classmethod
    def setUpClass(cls):
        cls.data = Dataset(rows=20_000, row_bytes=100, pool_bytes=4 << 20)

    def test_values_in_bulk_equal_values_one_by_one(self):
        """Promise: what is loaded is what samples are compared with."""
        dense = Dataset(rows=3_000, row_bytes=7, pool_bytes=1_000)  # every offset is reached
        for data, first, end in ((self.data, 0, 500), (self.data, 19_000, 20_000), (self.data, 7, 8), (dense, 0, 3_000)):
            self.assertEqual(list(data.values(first, end)), [(key, data.value(key)) for key in range(first, end)])

    def test_equal_seeds_give_equal_rows_and_other_seeds_other_rows(self):
        """Promise: two runs measure the same bytes."""
        again = Dataset(20_000, 100, pool_bytes=4 << 20)
        other = Dataset(20_000, 100, seed=7, pool_bytes=4 << 20)
        self.assertEqual(again.value(17), self.data.value(17))
        self.assertNotEqual(other.value(17), self.data.value(17))

    def test_all_values_differ(self):
        """Promise: a row in another row's place is noticed."""
        self.assertEqual(len({value for _, value in self.data.values(0, 20_000)}), 20_000)

    def test_values_need_no_escapes(self):
        """Promise: text loaders take the values as they are."""
        for byte in (b"\0", b"\t", b"\n", b"\\"):
            self.assertNotIn(byte, self.data.pool)

    def test_chunks_cover_all_rows_once(self):
        """Promise: no row is loaded twice or left out at a chunk's edge."""
        keys = [key for first, end in self.data.chunks(7_000) for key in range(first, end)]
        self.assertEqual(keys, list(range(20_000)))

    def test_sample_has_both_ends_and_only_stored_rows(self):
        """Promise: a log cut at its end is caught by the sample too."""
        keys = self.data.sample()
        self.assertEqual((keys[0], keys[-1]), (0, 19_999))
        self.assertEqual(keys, sorted(set(keys)))
        self.assertEqual(Dataset(1, 8, pool_bytes=1 << 20).sample(), [0])

    def test_senseless_sizes_are_refused(self):
        """Promise: bad input is one clear error."""
        for rows, row_bytes in ((0, 100), (1, 0), (1, 5_000)):
            with self.assertRaises(ValueError):
                Dataset(rows, row_bytes)


class Encodings(unittest.TestCase):
    """The bulk encoders write what the peers' formats say."""

    ROWS = [(0, b"ab"), (258, b"cd")]

    def test_redis_bulk_set_equals_plain_encoding(self):
        """Promise: the fast encoder is only faster."""
        plain = b"".join(redis.encode("SET", redis.key_bytes(key), value) for key, value in self.ROWS)
        self.assertEqual(redis.encode_sets(self.ROWS, 2), plain)

    def test_redis_bulk_mset_equals_plain_encoding(self):
        """Promise: the same, for many rows a command, across the command's limit."""
        rows = [(key, b"%04d" % key) for key in range(redis.ROWS_PER_MSET + 1)]
        words = [part for key, value in rows for part in (redis.key_bytes(key), value)]
        cut = 2 * redis.ROWS_PER_MSET
        plain = redis.encode("MSET", *words[:cut]) + redis.encode("MSET", *words[cut:])
        self.assertEqual(redis.encode_msets(rows, 4), plain)

    def test_postgresql_binary_copy_is_framed(self):
        """Promise: signature, one tuple of two fields a row, the end mark."""
        data = Dataset(3, 5, pool_bytes=1 << 20)
        out = b"".join(postgresql.copy_chunks(data, 1, 3))
        self.assertEqual(len(out), 19 + 2 * (2 + 4 + 8 + 4 + 5) + 2)
        self.assertEqual(out[19:37], b"\0\2" b"\0\0\0\x08" b"\0\0\0\0\0\0\0\1" b"\0\0\0\x05")
        self.assertEqual(out[37:42], data.value(1))
        self.assertEqual(out[-2:], b"\xff\xff")

    def test_mariadb_lines_hold_key_and_value(self):
        """Promise: one line a row, whatever bytes the value has."""
        data = Dataset(2, 9, pool_bytes=1 << 20)
        out = b"".join(mariadb.load_chunks(data, 0, 2))
        self.assertEqual(out, b"0\t" + data.value(0) + b"\n1\t" + data.value(1) + b"\n")


class Device(unittest.TestCase):
    """The probes and what is concluded from them."""

    def test_a_threefold_change_in_either_way_of_writing_is_mixed(self):
        """Promise: a run on a device that changed its mind is marked."""
        calm = {"direct": 100, "append": 200}
        self.assertFalse(device.is_mixed(calm, {"direct": 299, "append": 200}))
        self.assertTrue(device.is_mixed(calm, {"direct": 300, "append": 200}))
        self.assertTrue(device.is_mixed({"direct": 100, "append": 4_000}, calm))

    def test_buffers_are_aligned_for_direct_reads(self):
        """Promise: O_DIRECT never fails for alignment."""
        import ctypes
        for size in (4096, 1 << 20, 4 << 20):
            buffer = device.aligned_buffer(size)
            address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            self.assertEqual((len(buffer), address % device.HUGE), (size, 0))

    def test_probe_leaves_no_file(self):
        """Promise: the data folder is empty afterwards."""
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
            probe = device.WriteProbe(folder)
            found = probe.p50_us(0.01)
            probe.close()
            self.assertGreater(min(found.values()), 0)
            self.assertEqual(os.listdir(folder), [])

    def test_flushes_are_counted(self):
        """Promise: who does not flush is found out."""
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
            before = device.flushes(folder)
            if before is None:
                self.skipTest("this device does not count its flushes")
            with open(os.path.join(folder, "log"), "wb", buffering=0) as out:
                for _ in range(20):
                    out.write(b"x" * 100)
                    os.fdatasync(out.fileno())
            self.assertGreaterEqual(device.flushes(folder) - before, 20)

    def test_commits_without_flushes_are_refused(self):
        """Promise: rates of writes that are not durable are never reported as commits."""
        run = {"commits_per_s": 8_000.0, "device_flushes": 2_000}
        bench.demand_flushes("honest", 8, run, 2)
        with self.assertRaisesRegex(process.PeerError, "999 flushes"):
            bench.demand_flushes("liar", 8, dict(run, device_flushes=999), 2)

    def test_bytes_below_counts_data_and_not_holes(self):
        """Promise: a preallocated log is not counted as stored rows."""
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
            with open(os.path.join(folder, "sparse"), "wb") as out:
                out.write(b"x" * 4096)
                out.truncate(1 << 30)
            self.assertLessEqual(device.bytes_below(folder), 8192)


class Quiet(unittest.TestCase):
    """Others' processor time is told from ours."""

    def test_own_children_are_not_others(self):
        """Promise: a peer that works hard does not disturb itself, whether running or reaped."""
        root = 10
        looks = {1: (0, 5), 2: (0, 9), 3: (2, 9), 10: (1, 7), 11: (10, 3), 12: (11, 1), 20: (1, 4)}
        self.assertEqual(quiet.foreign(looks, root), {20: (1, 4)})

    def test_time_of_ended_processes_counts_once(self):
        """Promise: a compiler that ends within the run is neither lost nor counted twice."""
        before = {20: (1, 100), 21: (20, 40), 22: (21, 5)}
        # 21 and its child 22 used 10 more, ended, and 20 took their 55 over; 23 is new.
        self.assertEqual(quiet.used(before, {20: (1, 155), 23: (20, 7)}), 17)

    def test_orphans_that_ended_hide_nobody_elses_work(self):
        """Promise: a long compile that ends under process 1 does not make the rest look idle."""
        before = {20: (1, 900), 30: (1, 100)}
        self.assertEqual(quiet.used(before, {30: (1, 150)}), 50)

    def test_a_busy_stranger_is_noticed(self):
        """Promise: work of a process that is not our child is seen."""
        busy = [sys.executable, "-c", "import time; end = time.time() + 1\nwhile time.time() < end: pass"]
        others = quiet.Others()
        others.root = -1  # nobody is ours
        others.before = quiet.foreign(quiet.read_processes(), others.root)
        subprocess.run(busy, check=True)
        self.assertGreater(others.cpus(), 0.2)


class Processes(unittest.TestCase):
    """Nothing is left behind."""

    def test_kill_takes_the_whole_group(self):
        """Promise: workers that a server forked die with it."""
        with tempfile.TemporaryDirectory() as folder:
            child = process.start(["sh", "-c", "sleep 60 & echo $!; wait"], os.path.join(folder, "log"), stdout=subprocess.PIPE)
            worker = int(process.read_line(child, 10))
            process.kill(child)
            self.assertNotIn(child, process.RUNNING)
            self.assertFalse(alive(worker))

    def test_children_die_with_a_killed_driver(self):
        """Promise: not even SIGKILL to the driver leaves a server behind."""
        script = (
            "import sys; sys.path.insert(0, sys.argv[1])\nfrom harness import process\n"
            "print(process.start(['sleep', '60'], '/dev/null').pid, flush=True)\nimport time; time.sleep(60)"
        )
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        driver = subprocess.Popen([sys.executable, "-B", "-c", script, root], stdout=subprocess.PIPE, text=True)
        server = int(driver.stdout.readline())
        driver.kill()
        driver.wait()
        driver.stdout.close()
        deadline = time.monotonic() + 10
        while alive(server) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(alive(server))

    def test_waiting_for_a_dead_server_fails_at_once(self):
        """Promise: a server that cannot start is one error, not a timeout."""
        child = process.start(["false"], "/dev/null")
        with self.assertRaisesRegex(process.PeerError, "ended with 1"):
            process.wait_until(lambda: None, child, 60)
        process.kill(child)

    def test_a_failing_command_is_an_error_with_its_words(self):
        """Promise: the reason reaches the report."""
        with self.assertRaisesRegex(process.PeerError, "exit 3[^$]*no disk"):
            process.run(["sh", "-c", "echo no disk >&2; exit 3"])

    def test_a_loading_client_that_stops_reading_is_an_error(self):
        """Promise: a load that broke off is never taken for a load."""
        with self.assertRaisesRegex(process.PeerError, "exit 4"):
            process.feed(["sh", "-c", "exit 4"], [b"x" * 65536] * 100)


class Packages(unittest.TestCase):
    """Installing touches no more than it must."""

    def test_unknown_package_is_missing(self):
        """Promise: absence is noticed and told."""
        self.assertEqual(packages.missing(["no-such-package-anywhere"]), ["no-such-package-anywhere"])

    def test_services_are_held_only_for_the_time_of_the_install(self):
        """Promise: the machine's policy on services is as before."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "policy")
            with packages.ServicesHeld(path):
                self.assertTrue(os.access(path, os.X_OK))
            self.assertFalse(os.path.exists(path))

    def test_a_policy_in_place_stays(self):
        """Promise: somebody else's policy is neither changed nor removed."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "policy")
            with open(path, "w", encoding="ascii") as out:
                out.write("theirs")
            with packages.ServicesHeld(path):
                pass
            with open(path, encoding="ascii") as left:
                self.assertEqual(left.read(), "theirs")


class Repeats(unittest.TestCase):
    """A run that says nothing is repeated, and marked if it stays so."""

    class Options:
        """What settled() asks of the options."""
        patience = 0
        repeats = 2

        def __init__(self, probes):
            self.probe = self
            self.left = probes

        def p50_us(self):
            """The next of the given answers."""
            return {"direct": self.left.pop(0), "append": 1}

    def settled(self, probes, others):
        """The run that is kept when probes and others' processors are these, in turn."""
        watch = unittest.mock.Mock()
        watch.return_value.cpus.side_effect = others
        run = bench.settled(dict, self.Options(probes), watch)
        return run["mixed"], run["disturbed"], run["repeats"]

    def test_mixed_runs_are_repeated_until_they_agree(self):
        """Promise: a flip of the device costs time, not truth."""
        self.assertEqual(self.settled([100, 4_000, 100, 110], [0, 0]), (False, False, 1))

    def test_disturbed_runs_are_repeated_until_it_is_quiet(self):
        """Promise: a compiler beside a run costs time, not truth."""
        self.assertEqual(self.settled([100] * 4, [1.5, 0.1]), (False, False, 1))

    def test_what_stays_suspect_is_marked(self):
        """Promise: bounded in time, and told."""
        self.assertEqual(self.settled([100, 4_000] * 3, [0] * 3), (True, False, 2))
        self.assertEqual(self.settled([100] * 6, [2] * 3), (False, True, 2))


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    unittest.main()
