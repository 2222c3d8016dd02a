"""The two measurements: what is run how often, between which probes, and what is kept.

    for every peer, mode, cold or warm, run:
        wait for quiet ─► probe the device ─► prepare caches ─► start or commit, timed ─► verify ─► probe again

A run between two probes that disagree (mixed), or beside others' work (disturbed), is repeated, up
to --repeats times in a row; what is still so then is kept and marked. Only one server runs at a time.
"""

import importlib
import os
import shutil
import statistics
import sys

from harness import device, packages, process, quiet
from harness.dataset import Dataset

# Server, index and page cache beside the bytes of a row, and the copies on disk: generous, since
# running out in the middle costs more than a refusal.
MEMORY_PER_ROW = 250
DISK_COPIES = 8


def chosen(options):
    """(module, modes or None) of the peers asked for, in the order asked."""
    asked = {}
    for word in options.peers.split(","):
        peer, _, mode = word.partition(":")
        asked.setdefault(peer, []).append(mode)
    for peer, modes in asked.items():
        yield importlib.import_module(f"systems.{peer}"), None if "" in modes else modes


def say(text):
    """Progress, on standard error: standard output is the report."""
    print(text, file=sys.stderr, flush=True)


def opening(name, options):
    """The head of the report, with the device measured before anything else runs."""
    quiet.wait_for_quiet(options.patience)
    say("device: sequential read of 2 GiB, durable 4 KiB writes")
    found = device.sequential_read(options.work)
    options.probe = device.WriteProbe(options.work)
    found["durable_write_p50_us_before"] = options.probe.p50_us(1.0)
    return {"schema_version": 1, "bench": name, "host": device.host(), "device": found, "peers": []}


def closing(found, options):
    """The device once more, at the end."""
    found["device"]["durable_write_p50_us_after"] = options.probe.p50_us(1.0)
    options.probe.close()
    found["host"]["load_average_after"] = device.load_average()
    return found


def unavailable(system, options):
    """Why a peer cannot be measured here, or None."""
    if options.no_install:
        absent = packages.missing(system.packages_needed)
        return f"not installed ({', '.join(absent)})" if absent else None
    return packages.install(system.packages_needed)


def too_small(options):
    """Why the rows do not fit this machine, or None."""
    need = options.rows * (options.row_bytes + MEMORY_PER_ROW)
    have = device.memory("MemAvailable")
    if need > have:
        return f"needs {need >> 20} MiB of memory, {have >> 20} MiB are available"
    need = options.rows * (options.row_bytes + 50) * DISK_COPIES
    have = shutil.disk_usage(options.work).free
    if need > have:
        return f"needs {need >> 20} MiB of disk, {have >> 20} MiB are free"
    return None


def recovery(options):
    """Every peer and mode that can recover, cold and warm."""
    found = opening("peers-recovery", options)
    found.update(rows=options.rows, row_bytes=options.row_bytes)
    dataset = Dataset(options.rows, options.row_bytes)
    for system, modes in chosen(options):
        if not hasattr(system, "prepare"):
            continue
        reason = unavailable(system, options) or too_small(options)
        if reason:
            say(f"{system.name}: skipped: {reason}")
            found["peers"].append({"name": system.name, "skipped": reason})
            continue
        for mode in modes or system.modes:
            found["peers"] += recover_mode(system, mode, dataset, options)
    return closing(found, options)


def recover_mode(system, mode, dataset, options):
    """One load, then cold and warm runs on what it left."""
    home = os.path.join(options.work, f"{system.name}-{mode}")
    entries = []
    try:
        say(f"{system.name} {mode}: loading {dataset.rows} rows")
        stored = system.prepare(mode, dataset, home, options.sockets)
        stored_bytes = device.bytes_below(stored.files())
        for cold in temperatures(options):
            entry = {"name": system.name, "version": system.version(), "mode": mode, "cold": cold}
            entry.update(load_s=round(stored.load_s, 3), stored_bytes=stored_bytes)
            entry["runs"] = [settled(lambda: recover_once(stored, cold), options) for _ in range(options.runs)]
            total = statistics.median(run["total_s"] for run in entry["runs"])
            entry["median"] = {"total_s": total, "rows_per_s": round(dataset.rows / total)}
            say(f"{system.name} {mode} {'cold' if cold else 'warm'}: {total:.3f} s")
            entries.append(entry)
    except (process.PeerError, OSError) as failed:
        say(f"{system.name} {mode}: skipped: {failed}")
        entries.append({"name": system.name, "mode": mode, "skipped": str(failed)})
    finally:
        process.kill_all()
        shutil.rmtree(home, ignore_errors=True)
    return entries


def temperatures(options):
    """Which of cold (True) and warm (False) to run."""
    return [cold for cold in (True, False) if not (options.warm if cold else options.cold)]


def recover_once(stored, cold):
    """One start, timed, and the rows verified after it."""
    if hasattr(stored, "restore"):
        stored.restore()
    device.drop_page_cache()
    if not cold:
        device.read_into_page_cache(stored.files())
    run = {key: round(value, 4) for key, value in stored.start().items()}
    # A wrong count or a changed row raises, so a run that is kept is a run that was right.
    run["samples"] = stored.check()
    run["verified"] = True
    stored.stop()
    return run


def settled(measure, options, watch=quiet.Others):
    """One run on a quiet machine between two probes that agree, or the last of a few tries."""
    for attempt in range(1 + options.repeats):
        quiet.wait_for_quiet(options.patience)
        before = options.probe.p50_us()
        load = device.load_average()
        others = watch()
        run = measure()
        cpus = others.cpus()
        after = options.probe.p50_us()
        run.update(device_before_us=before, device_after_us=after, load_average=load, others_cpus=cpus)
        run.update(mixed=device.is_mixed(before, after), disturbed=cpus >= quiet.DISTURBED_CPUS, repeats=attempt)
        if not run["mixed"] and not run["disturbed"]:
            break
    return run


def commit(options):
    """Every peer that can commit durably, at every client count."""
    found = opening("peers-commit", options)
    found.update(row_bytes=options.row_bytes, seconds=options.seconds)
    for system, _ in chosen(options):
        if not hasattr(system, "commit"):
            continue
        reason = unavailable(system, options)
        if reason:
            say(f"{system.name}: skipped: {reason}")
            found["peers"].append({"name": system.name, "skipped": reason})
            continue
        for clients in options.clients:
            found["peers"].append(commit_clients(system, clients, options))
    return closing(found, options)


def commit_clients(system, clients, options):
    """All runs of one peer at one client count."""
    entry = {"name": system.name, "mode": system.commit_mode, "clients": clients}
    home = os.path.join(options.work, f"{system.name}-commit")

    def once():
        before = device.flushes(options.work)
        try:
            run = system.commit(clients, options.seconds, options.row_bytes, (home, options.sockets))
        finally:
            process.kill_all()
            shutil.rmtree(home, ignore_errors=True)
        if before is not None:
            run["device_flushes"] = device.flushes(options.work) - before
            demand_flushes(system.name, clients, run, options.seconds)
        return run

    try:
        entry["version"] = system.version()
        entry["runs"] = [settled(once, options) for _ in range(options.runs)]
    except (process.PeerError, OSError) as failed:
        say(f"{system.name} {clients} clients: skipped: {failed}")
        return {"name": system.name, "clients": clients, "skipped": str(failed)}
    keys = ("commits_per_s", "p50_us", "p99_us")
    entry["median"] = {key: round(statistics.median(run[key] for run in entry["runs"]), 1) for key in keys}
    say(f"{system.name} {clients} clients: {entry['median']['commits_per_s']:.0f} commits/s")
    return entry


def demand_flushes(name, clients, run, seconds):
    """A peer that calls commits durable without flushing is not compared with.

    With `clients` waiting, one flush can cover at most `clients` commits. The count is the whole
    device's, so this finds who does not flush at all, not who saves one now and then.
    """
    least = run["commits_per_s"] * seconds / clients / 2
    if run["device_flushes"] < least:
        raise process.PeerError(f"{name}: {run['device_flushes']} flushes for {run['commits_per_s']:.0f} commits/s")
