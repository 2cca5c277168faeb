# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares this machine, only where it has to be and saying so: packages, the Docker daemon, a missing capability, inotify."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from .console import LabError, say
from .process import logged, output, poll, succeeds
from .settings import HERE, LOGS

CAP_SYS_RESOURCE = 24  # bit in /proc/self/status, capabilities(7)
RUNTIME = "hostnet-lab"
WRAPPER = Path("/usr/local/lib/hostnet-lab/runc-without-sys-resource")
DAEMON_JSON = Path("/etc/docker/daemon.json")
# fs.inotify: every kubelet, containerd and systemd of every node watches files, on one kernel
SYSCTLS = {"fs.inotify.max_user_instances": 1024, "fs.inotify.max_user_watches": 131072}
PACKAGES = {  # command -> Debian package
    "docker": "docker.io",
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "go": "golang-go",
}


def cgroup_v1() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def lacks_sys_resource() -> bool:
    """Docker gives a privileged container every capability it knows, and fails where the host cannot grant one."""
    status = Path("/proc/self/status").read_text()
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return not bounding >> CAP_SYS_RESOURCE & 1


def need_commands(*commands: str) -> None:
    """Installs the packages of the commands that are missing (Debian and Ubuntu; elsewhere it says what to install)."""
    packages = sorted({PACKAGES[command] for command in commands if not shutil.which(command)})
    if not packages:
        return
    advice = f"install: {' '.join(packages)}"
    if not shutil.which("apt-get"):
        raise LabError(f"missing commands, and this is not Debian or Ubuntu; {advice} (Debian's names)")
    if os.geteuid() != 0:
        raise LabError(f"missing packages; as root: apt-get install {' '.join(packages)}")
    _install(packages)
    if "docker" in commands and not shutil.which("docker"):
        _install(["docker-cli"])  # a package of its own since Debian 13
    still = [command for command in commands if not shutil.which(command)]
    if still:
        raise LabError(f"still missing after the installation: {', '.join(still)}", LOGS / "apt.log")


def _install(packages: list[str]) -> None:
    say(f"host: installing Debian packages {' '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    try:
        logged(install, what="host: apt-get install", log=LOGS / "apt.log", env=quiet)
    except LabError:  # package lists may be missing or old
        logged(["apt-get", "update"], what="host: apt-get update", log=LOGS / "apt-update.log", env=quiet)
        logged(install, what="host: apt-get install", log=LOGS / "apt.log", env=quiet)


def daemon_answers() -> bool:
    return bool(shutil.which("docker")) and succeeds(["docker", "version", "--format", "{{.Server.Version}}"])


def prepare() -> None:
    """Everything that containers need; a second call finds nothing to do and takes a fraction of a second."""
    if not daemon_answers():
        _start_daemon()
    if lacks_sys_resource():
        _use_wrapper()
    for name, least in SYSCTLS.items():
        path = Path("/proc/sys") / name.replace(".", "/")
        present = int(path.read_text())
        if present < least:
            if not os.access(path, os.W_OK):
                raise LabError(f"{name} is {present}; as root: sysctl -w {name}={least}")
            say(f"host: {name} from {present} to {least} (until the next boot)")
            path.write_text(str(least))


def _start_daemon() -> None:
    if os.environ.get("DOCKER_HOST"):
        raise LabError(f"no Docker daemon answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    need_commands("docker", "dockerd", "containerd", "runc", "iptables")
    if daemon_answers():  # the package has started it
        return
    if os.geteuid() != 0:
        raise LabError("no Docker daemon answers; start it as root, or add this user to the group docker")
    log = LOGS / "dockerd.log"
    if Path("/run/systemd/system").exists():
        say("host: starting docker.service")
        logged(["systemctl", "start", "docker.service"], what="host: systemctl start docker", log=log)
    else:
        if lacks_sys_resource():
            _write_runtime()
        say(f"host: starting dockerd (log: {log})")
        log.parent.mkdir(parents=True, exist_ok=True)
        pid_file = Path("/var/run/docker.pid")
        if pid_file.exists() and not Path(f"/proc/{pid_file.read_text().strip()}").exists():
            pid_file.unlink()  # left by a machine that was switched off
        with log.open("ab") as sink:
            # not through process.py: the daemon outlives this command
            subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
    try:
        poll(lambda: daemon_answers() or None, deadline=60, missing=lambda: "an answer of the Docker daemon")
    except LabError as error:
        raise LabError(str(error), log) from None


def _write_runtime() -> bool:
    """Installs the wrapper and names it in daemon.json; says whether anything changed."""
    source = (HERE / "host" / "runc-without-sys-resource").read_text()
    wanted = json.loads(DAEMON_JSON.read_text()) if DAEMON_JSON.exists() else {}
    wanted.setdefault("runtimes", {})[RUNTIME] = {"path": str(WRAPPER)}
    wanted["default-runtime"] = RUNTIME
    text = json.dumps(wanted, indent=1) + "\n"
    if WRAPPER.exists() and WRAPPER.read_text() == source and DAEMON_JSON.exists() and DAEMON_JSON.read_text() == text:
        return False
    if os.geteuid() != 0:
        raise LabError(f"this host lacks CAP_SYS_RESOURCE; run the lab as root once, so that it can write {WRAPPER} and {DAEMON_JSON}")
    say(f"host: CAP_SYS_RESOURCE is missing; {WRAPPER} becomes Docker's default runtime in {DAEMON_JSON}")
    WRAPPER.parent.mkdir(parents=True, exist_ok=True)
    WRAPPER.write_text(source)
    WRAPPER.chmod(0o755)
    DAEMON_JSON.parent.mkdir(parents=True, exist_ok=True)
    DAEMON_JSON.write_text(text)
    return True


def _use_wrapper() -> None:
    """Makes a running daemon use the wrapper; a default runtime of the user's own is left alone (it may be such a wrapper)."""

    def default() -> str:
        return output(["docker", "info", "--format", "{{.DefaultRuntime}}"]).strip()

    if default() not in ("runc", RUNTIME):
        return
    if not _write_runtime() and default() == RUNTIME:
        return
    try:
        pid = int(Path("/var/run/docker.pid").read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"{DAEMON_JSON} has changed, but the daemon's process is not known; restart the Docker daemon") from error
    os.kill(pid, signal.SIGHUP)  # dockerd reads runtimes and default-runtime again, containers go on
    missing = f"the Docker daemon's default runtime {RUNTIME}; restart the daemon"
    poll(lambda: default() == RUNTIME or None, deadline=20, missing=lambda: missing)


def default_mirror() -> str:
    """The Debian mirror that apt uses here, so that debootstrap works wherever apt does."""
    chosen = os.environ.get("HOSTNET_LAB_DEBIAN_MIRROR")
    if chosen:
        return chosen
    try:
        listed = output(["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"])
    except LabError:
        listed = ""
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == "Debian" and words[2] == "main" and words[1].isalpha():
            return words[3].rstrip("/")
    return "http://deb.debian.org/debian"
