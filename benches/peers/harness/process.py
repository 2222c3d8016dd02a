"""Servers as children: started, waited for, and never left behind.

Every child leads its own process group and is killed with it: by its owner, at exit, on SIGINT
and SIGTERM, and by the kernel should this process be killed outright.
"""

import atexit
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.002
LIBC = ctypes.CDLL(None, use_errno=True)

RUNNING = []
FOLDERS = []


class PeerError(Exception):
    """A peer did not do what the measurement needs; the text says what and where its log is."""


def die_with_parent():
    """Runs in the child before exec: the kernel kills it when the driver dies."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(argv, log, user=None, **pipes):
    """Starts a server whose output goes to the file `log`, as `user` if given."""
    identity = {}
    if user and os.geteuid() == 0:
        identity = {"user": user, "group": user, "extra_groups": []}
    with open(log, "ab") as sink:
        pipes.setdefault("stdin", subprocess.DEVNULL)
        pipes.setdefault("stdout", sink)
        child = subprocess.Popen(
            argv, stderr=sink, start_new_session=True, preexec_fn=die_with_parent, **pipes, **identity
        )
    RUNNING.append(child)
    return child


def kill(child):
    """SIGKILL to the whole group, and waits until it is gone."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()
    wait_for_group(child.pid)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe:
            # What was buffered for a dead reader is lost with it, which is what a kill means.
            try:
                pipe.close()
            except BrokenPipeError:
                pass
    if child in RUNNING:
        RUNNING.remove(child)


def wait_for_group(group, seconds=30):
    """Workers of a killed server may outlive it for a moment and hold its files."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(POLL_SECONDS)
    raise PeerError(f"process group {group} survives SIGKILL for {seconds} s")


def run(argv, user=None, seconds=600, **options):
    """Runs a helper command to its end and returns its output; raises with both outputs."""
    identity = {}
    if user and os.geteuid() == 0:
        identity = {"user": user, "group": user, "extra_groups": []}
    child = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=options.pop("stdin", subprocess.DEVNULL),
        start_new_session=True, preexec_fn=die_with_parent, text=True, **options, **identity
    )
    RUNNING.append(child)
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise PeerError(f"{argv[0]}: not done after {seconds} s") from late
    finally:
        kill(child)
    if child.returncode != 0:
        raise PeerError(f"{' '.join(argv)[:200]}: exit {child.returncode}\n{out[-500:]}\n{err[-500:]}")
    return out


def feed(argv, chunks, user=None):
    """Runs a loading client and pipes `chunks` of bytes into it."""
    identity = {"user": user, "group": user, "extra_groups": []} if user and os.geteuid() == 0 else {}
    child = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=die_with_parent, **identity
    )
    RUNNING.append(child)
    try:
        try:
            for chunk in chunks:
                child.stdin.write(chunk)
            child.stdin.close()
        except BrokenPipeError:
            pass  # the client's own words, read below, say more
        err = child.stderr.read().decode("utf-8", "replace")
        child.wait()
    finally:
        kill(child)
    if child.returncode != 0:
        raise PeerError(f"{' '.join(argv)[:200]}: exit {child.returncode}\n{err[-500:]}")


def wait_until(probe, child, seconds, pause=POLL_SECONDS):
    """Calls `probe` until it returns something other than None; the child must stay alive."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer is not None:
            return answer
        if child.poll() is not None:
            raise PeerError(f"{child.args[0]} ended with {child.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise PeerError(f"{child.args[0]} is not ready after {seconds} s")
        time.sleep(pause)


def read_line(child, seconds):
    """The next line of the child's output without its end; the child must write it in time.

    Reads unbuffered, so that select() and what is still to be read never disagree.
    """
    deadline = time.monotonic() + seconds
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise PeerError(f"{child.args[0]}: no answer after {seconds} s")
        # Every answer is asked for before the next, so a read never takes more than one line.
        part = os.read(child.stdout.fileno(), 65536)
        if not part:
            raise PeerError(f"{child.args[0]} ended before it answered")
        line += part
    return line[:-1].decode("ascii")


def remove_socket(path):
    """A killed server leaves its socket; the next one must be the one that answers."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def own_folder(path, user=None):
    """Makes a folder that is removed at exit, belonging to the user that the server runs as."""
    os.makedirs(path)
    FOLDERS.append(path)
    if user and os.geteuid() == 0:
        shutil.chown(path, user, user)
    return path


def children(parent):
    """Ids of the direct children of a process, as the kernel lists them."""
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as listed:
        return [int(word) for word in listed.read().split()]


def kill_processes(ids, seconds=30):
    """SIGKILL to each process by its id, and waits until all are gone."""
    deadline = time.monotonic() + seconds
    left = list(ids)
    while left:
        for each in list(left):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                left.remove(each)
        if left and time.monotonic() > deadline:
            raise PeerError(f"processes {left} survive SIGKILL for {seconds} s")
        time.sleep(POLL_SECONDS)


def scratch_folder():
    """A new folder for build products, removed at exit."""
    return adopt_folder(tempfile.mkdtemp(prefix="resprout-peers-"))


def adopt_folder(path):
    """A folder that already exists, removed at exit."""
    FOLDERS.append(path)
    return path


def kill_all():
    """Kills every child that still runs; after a failure nobody else knows of it."""
    for child in list(RUNNING):
        kill(child)


def clean_up():
    """Kills what still runs and removes what was made; safe to call twice."""
    kill_all()
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)


def stop_on_signals():
    """SIGTERM and SIGINT end the run through `clean_up`, like any other exit."""
    atexit.register(clean_up)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
