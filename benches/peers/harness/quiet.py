"""Who else uses the processors: a run beside a compiler measures the compiler.

Runs beside compilers were seen at a tenth of their speed while the probe before and the one after
agreed. So the processor time of everything that is not ours is counted over each run:

    others = change of (own + reaped children's time) of all processes that are neither the kernel's,
             nor process 1, nor this one, nor its descendants

A lower bound: what starts and ends under process 1 within the run is not seen.
"""

import os
import time

DISTURBED_CPUS = 0.25
LOOK_SECONDS = 0.5
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def read_processes():
    """pid -> (parent, ticks including reaped children) of every process that can be read."""
    found = {}
    for word in os.listdir("/proc"):
        if not word.isdigit():
            continue
        try:
            with open(f"/proc/{word}/stat", encoding="utf-8", errors="replace") as stat:
                # The name may hold anything, so what counts starts after its last parenthesis.
                fields = stat.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(word)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return found


def foreign(processes, root):
    """Those that are not `root`, its descendants, process 1 or the kernel's."""
    left = {}
    for pid, found in processes.items():
        line, at = [], pid
        while at in processes and at not in line:
            line.append(at)
            at = processes[at][0]
        if root not in line and 2 not in line and pid != 1:
            left[pid] = found
    return left


def used(before, after):
    """Ticks spent between two looks by processes that are there at the second, children included.

    What a process had used before the first look moves to its parent when it ends, and is taken off
    there: at the nearest ancestor that lives on. Where no such ancestor is, process 1 took it over.
    """
    inherited = {}
    for pid, (parent, ticks) in before.items():
        if pid not in after:
            while parent in before and parent not in after:
                parent = before[parent][0]
            inherited[parent] = inherited.get(parent, 0) + ticks
    total = 0
    for pid, (_, ticks) in after.items():
        earlier = before[pid][1] if pid in before else 0
        # A parent that ignores its children's end inherits nothing: never less than zero.
        total += max(0, ticks - earlier - inherited.get(pid, 0))
    return total


class Others:
    """Processors used by others from its making until cpus() is called."""

    def __init__(self):
        self.root = os.getpid()
        self.began = time.monotonic()
        self.before = foreign(read_processes(), self.root)

    def cpus(self):
        """1.0 means that one processor was busy for others all the time."""
        seconds = time.monotonic() - self.began
        ticks = used(self.before, foreign(read_processes(), self.root))
        return round(ticks / TICKS_PER_SECOND / max(seconds, 1e-3), 2)


def wait_for_quiet(patience_seconds):
    """Returns as soon as others leave the processors alone, at the latest when patience ends."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        others = Others()
        time.sleep(LOOK_SECONDS)
        if others.cpus() < DISTURBED_CPUS:
            return
