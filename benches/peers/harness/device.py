"""The machine under the peers: page cache, sequential reads, durable writes, load.

The flush of a virtual disk may switch by itself between about 0.1 ms and 4 ms. So every measured
run stands between two probes of a durable 4 KiB write, and a run whose probes differ by
`MIXED_RATIO` or more says nothing about the peer.
"""

import ctypes
import mmap
import os
import platform
import threading
import time

BLOCK = 4096
HUGE = 2 << 20
READ_BYTES = 2 << 30
PROBE_BYTES = 16 << 20
PROBE_SECONDS = 0.3
MIXED_RATIO = 3.0
FLUSH_FIELD = 15  # of /sys/block/*/stat, kernel document "block/stat"


def host():
    """What the numbers were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else "unknown",
        "cpus": os.cpu_count(),
        "memory_bytes": memory("MemTotal"),
        "kernel": platform.release(),
        "load_average": load_average(),
    }


def memory(field):
    """One field of /proc/meminfo, in bytes."""
    with open("/proc/meminfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/meminfo has no {field}")


def load_average():
    """Runnable tasks over the last minute: says how quiet the machine was."""
    return round(os.getloadavg()[0], 2)


def drop_page_cache():
    """Writes everything back, then empties the page cache: what follows reads from the device."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3\n")


def read_into_page_cache(folder):
    """Reads every file below `folder` once, so that a warm run finds it in memory."""
    buffer = bytearray(4 << 20)
    for path, _, names in os.walk(folder):
        for name in names:
            full = os.path.join(path, name)
            if os.path.isfile(full):
                with open(full, "rb", buffering=0) as source:
                    while source.readinto(buffer):
                        pass


def flushes(folder):
    """Flushes that the device under `folder` has completed since boot, or None where it does not count."""
    number = os.stat(folder).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat", encoding="ascii") as stat:
            return int(stat.read().split()[FLUSH_FIELD])
    except (FileNotFoundError, IndexError):
        return None


def bytes_below(folder):
    """Bytes that the files below `folder` take on disk, and not their holes."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(path, name))
            total += min(found.st_size, found.st_blocks * 512)
    return total


def aligned_buffer(size):
    """Anonymous memory on huge pages, aligned to one: O_DIRECT needs it, and reads faster into it."""
    area = mmap.mmap(-1, size + HUGE)
    area.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(area)
    skip = -ctypes.addressof(ctypes.c_char.from_buffer(area)) % HUGE
    return view[skip:skip + size]


def sequential_read(folder):
    """Best sequential O_DIRECT read of a fresh file, over a few shapes, in bytes per second."""
    path = os.path.join(folder, "device-read.tmp")
    try:
        write_file(path, READ_BYTES)
        shapes = [(threads, size << 20) for threads in (2, 4) for size in (1, 4)]
        found = [(read_rate(path, *shape), shape) for shape in shapes for _ in range(2)]
    finally:
        remove(path)
    rate, (threads, block_bytes) = max(found)
    return {
        "sequential_read_bytes_per_s": round(rate),
        "read_threads": threads,
        "read_block_bytes": block_bytes,
    }


def write_file(path, size):
    """A file of pseudo-random bytes, written past the page cache and flushed."""
    buffer = aligned_buffer(8 << 20)
    buffer[:] = os.urandom(len(buffer))
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_DIRECT, 0o600)
    try:
        for offset in range(0, size, len(buffer)):
            os.pwrite(fd, buffer, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def read_rate(path, threads, block_bytes):
    """Reads the whole file in interleaved blocks by several threads; bytes per second."""
    drop_page_cache()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        size = os.fstat(fd).st_size
        buffers = [aligned_buffer(block_bytes) for _ in range(threads)]
        for buffer in buffers:
            # First touch outside the measurement: it is the device that is in question.
            for page in range(0, block_bytes, BLOCK):
                buffer[page] = 1
        done = [0] * threads

        def work(index):
            for offset in range(index * block_bytes, size, threads * block_bytes):
                done[index] += os.preadv(fd, [buffers[index]], offset)

        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - began
    finally:
        os.close(fd)
    if sum(done) != size:
        raise OSError(f"{path}: read {sum(done)} of {size} bytes")
    return size / seconds


class WriteProbe:
    """Medians of durable 4 KiB writes, in the two ways that matter here.

    `direct`: O_DIRECT | O_DSYNC into a prezeroed file, the least a device asks. `append`: buffered at
    the end of a growing file, then fdatasync, with the file system's journal: what most peers do.
    """

    def __init__(self, folder):
        self.path = os.path.join(folder, "device-write.tmp")
        self.append_path = os.path.join(folder, "device-append.tmp")
        # Zeroed, not only allocated: the first write to an unwritten extent pays the journal.
        zeros = aligned_buffer(PROBE_BYTES)
        fd = os.open(self.path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_DIRECT, 0o600)
        os.pwrite(fd, zeros, 0)
        os.fsync(fd)
        os.close(fd)
        self.buffer = aligned_buffer(BLOCK)

    def p50_us(self, seconds=PROBE_SECONDS):
        """Microseconds of both; takes `seconds` of wall time for each."""
        return {"direct": self.direct_us(seconds), "append": self.append_us(seconds)}

    def direct_us(self, seconds):
        """Microseconds of an overwrite past the page cache."""
        fd = os.open(self.path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
        try:
            return median_us(seconds, lambda turn: os.pwrite(fd, self.buffer, turn * BLOCK % PROBE_BYTES))
        finally:
            os.close(fd)

    def append_us(self, seconds):
        """Microseconds of a write and fdatasync at the end of a file."""
        fd = os.open(self.append_path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)

        def append(turn):
            os.pwrite(fd, self.buffer, turn * BLOCK)
            os.fdatasync(fd)

        try:
            return median_us(seconds, append)
        finally:
            os.close(fd)
            remove(self.append_path)

    def close(self):
        """Removes the probe's file."""
        remove(self.path)


def median_us(seconds, operation):
    """Median duration of an operation that is repeated for `seconds`, at least once."""
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        operation(len(times))
        times.append(time.perf_counter() - began)
    return round(sorted(times)[len(times) // 2] * 1e6, 1)


def is_mixed(before_us, after_us):
    """Whether the device changed its mind, in either way of writing, while a run was going on."""
    return any(
        max(before_us[way], after_us[way]) >= MIXED_RATIO * min(before_us[way], after_us[way]) for way in before_us
    )


def remove(path):
    """Removes a file that may not exist."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
