"""What the benches of a cluster have in common: members as processes on free ports of this machine, and SQL through one of them."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))

from harness import packages, process  # noqa: E402  (needs the line above first)


def free_port():
    """A port whose neighbour 10000 above is free too: nodes of a cluster meet there."""
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = 10000 + found.getsockname()[1] % 12000
        try:
            for taken in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", taken))
            return port
        except OSError:
            continue


class System:
    """One or more processes behind a port."""

    def __init__(self, name, port, children):
        self.name, self.port, self.children = name, port, children
        self.account = ["-u", "root"]

    def sql(self, statement):
        client = [packages.find("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port)]
        return process.run([*client, *self.account, "--local-infile=1", "-N", "-B", "-e", statement])

    def until(self, statement, seconds=60, pause=0.2):
        def probe():
            try:
                return self.sql(statement) is not None
            except process.PeerError:
                return None
        process.wait_until(probe, self.children[0], seconds, pause)


def member(binary, folder, name, port, words):
    """Starts a member of the cluster whose secret lies in the folder."""
    secret = os.path.join(folder, "secret")
    if not os.path.exists(secret):
        with open(secret, "w") as out:
            out.write("the secret of a cluster that is measured")
    argv = [binary, "member", "--data", os.path.join(folder, name), "--secret-file", secret]
    argv += ["--listen", f"127.0.0.1:{port}", "--log-level", "warn", *words]
    return process.start(argv, os.path.join(folder, f"{name}.log"))


def start(kind, binary, folder, name, leaves=2, memory=2 << 30):
    """An aggregator and leaves, one copy of each partition, as a system of this kind; and the leaves' ports."""
    os.environ.pop("RESPROUT_ROOT_PASSWORD", None)
    ports, words = [free_port() for _ in range(1 + leaves)], ["--maximum-memory", str(memory)]
    children = [member(binary, folder, f"{name}-0", ports[0], [*words, "--found", "--redundancy", "1"])]
    for at, port in enumerate(ports[1:], 1):
        children.append(member(binary, folder, f"{name}-{at}", port, words))
    system = kind(name, ports[0], children)
    system.until("SELECT 1")
    for port in ports[1:]:
        system.until(f"ADD LEAF root@'127.0.0.1':{port}")
    return system, ports[1:]
