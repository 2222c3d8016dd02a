"""The report as tables for people; programs read the JSON."""


def table(found):
    """Markdown, so that it can be pasted into a document."""
    machine, disk = found["host"], found["device"]
    lines = [
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}; load average "
        f"{machine['load_average']} before, {machine['load_average_after']} after.",
        f"Device: sequential read {disk['sequential_read_bytes_per_s'] / 1e9:.2f} GB/s; durable 4 KiB write, p50 "
        f"before and after: direct {pair(disk, 'direct')} us, appended {pair(disk, 'append')} us.",
        "",
    ]
    return "\n".join(lines + (recovery(found) if found["bench"] == "peers-recovery" else commit(found)))


def recovery(found):
    """One line per peer, mode and temperature."""
    lines = [
        f"Recovery of {found['rows']:,} rows of 8 + {found['row_bytes']} bytes, median of the runs.",
        "",
        "| peer | mode | cache | stored MiB | load s | total s | M rows/s | runs s | load avg | suspect |",
        "|---|---|---|--:|--:|--:|--:|---|--:|---|",
    ]
    for peer in found["peers"]:
        if "skipped" in peer:
            lines.append(f"| {peer['name']} | {peer.get('mode', '')} | skipped: {first_line(peer)} ||||||||")
            continue
        median = peer["median"]
        lines.append(
            f"| {peer['name']} {peer['version']} | {peer['mode']} | {'cold' if peer['cold'] else 'warm'} "
            f"| {peer['stored_bytes'] / 2**20:,.0f} | {peer['load_s']:.1f} | {median['total_s']:.2f} | {median['rows_per_s'] / 1e6:.2f} "
            f"| {', '.join(format(run['total_s'], '.2f') for run in peer['runs'])} | {highest_load(peer)} | {suspect(peer)} |"
        )
    return lines


def commit(found):
    """One line per peer and client count."""
    lines = [
        f"Durable single-row commits of {found['row_bytes']} bytes, {found['seconds']} s a run, median of the runs.",
        "",
        "| peer | mode | clients | commits/s | p50 us | p99 us | runs commits/s | load avg | suspect |",
        "|---|---|--:|--:|--:|--:|---|--:|---|",
    ]
    for peer in found["peers"]:
        if "skipped" in peer:
            lines.append(f"| {peer['name']} | | {peer.get('clients', '')} | skipped: {first_line(peer)} ||||||")
            continue
        median = peer["median"]
        lines.append(
            f"| {peer['name']} {peer['version']} | {peer['mode']} | {peer['clients']} | {median['commits_per_s']:,.0f} "
            f"| {median['p50_us']:,.0f} | {median['p99_us']:,.0f} "
            f"| {', '.join(format(run['commits_per_s'], ',.0f') for run in peer['runs'])} | {highest_load(peer)} | {suspect(peer)} |"
        )
    return lines


def pair(disk, way):
    """The probe at the start and at the end."""
    return " and ".join(f"{disk['durable_write_p50_us_' + when][way]:.0f}" for when in ("before", "after"))


def first_line(peer):
    """Enough of a reason for a table."""
    return peer["skipped"].splitlines()[0][:120]


def highest_load(peer):
    """The busiest the machine was before one of the runs."""
    return max(run["load_average"] for run in peer["runs"])


def suspect(peer):
    """How many of the kept runs are mixed or disturbed, and by how much."""
    runs = peer["runs"]
    found = [f"{sum(run[mark] for run in runs)} {mark}" for mark in ("mixed", "disturbed") if any(run[mark] for run in runs)]
    return ", ".join(found) or "no"
