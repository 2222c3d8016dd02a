"""Installs the peers from the distribution, and only what is missing.

Services are kept from starting while packages are installed: the driver starts servers itself, on
its own folders and sockets, and leaves the machine's own alone.
"""

import os
import shutil
import subprocess

POLICY = "/usr/sbin/policy-rc.d"
DENY = "#!/bin/sh\nexit 101\n"


def find(binary, also=()):
    """The path of a program, looked up in PATH and in the packages' own folders."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *also])
    return shutil.which(binary, path=path)


def missing(names):
    """Those of the packages that are not installed."""
    absent = []
    for name in names:
        asked = ["dpkg-query", "-W", "-f=${Status}", name]
        try:
            answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            return list(names)
        if not answer.endswith(" installed"):
            absent.append(name)
    return absent


def install(names):
    """Installs packages; returns None, or the reason why that was not possible."""
    absent = missing(names)
    if not absent:
        return None
    if os.geteuid() != 0:
        return f"not installed ({', '.join(absent)}) and not root"
    if not shutil.which("apt-get"):
        return f"not installed ({', '.join(absent)}) and no apt-get"
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *absent]
    with ServicesHeld():
        for attempt in (["apt-get", "update", "-q"], command):
            try:
                done = subprocess.run(
                    attempt, env=environment, capture_output=True, text=True, check=False, timeout=600
                )
            except subprocess.TimeoutExpired:
                return f"{' '.join(attempt)}: not done after 600 s"
    if done.returncode != 0:
        return f"apt-get install {' '.join(absent)}: {done.stderr.strip()[-200:]}"
    return None


class ServicesHeld:
    """While held, package scripts may not start services; a policy already in place stays."""

    def __init__(self, path=POLICY):
        self.path = path
        self.ours = False

    def __enter__(self):
        if not os.path.exists(self.path):
            with open(self.path, "w", encoding="ascii") as policy:
                policy.write(DENY)
            os.chmod(self.path, 0o755)
            self.ours = True

    def __exit__(self, *_):
        if self.ours:
            os.unlink(self.path)
