# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renews a lock while its run lives, from a process of its own: ansible-playbook waits for hours in tasks that know nothing of the lock.

It watches ansible-playbook through a handle of the kernel's, so no process id that was given anew deceives it. Once that has ended, it goes on only as long
as something is left that the run had started, a hook's script for example: whoever sees the lock renewed is not to take it. It ends as soon as
the lock is not this run's any more in one kube cluster. It is in the same container as the run and ends with that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .._plan.lock import Holder
from . import client, processes
from .client import Json, KubeError, each_cluster
from .lock import LockLost, renew_one

_BEATS = "ok"
# Without Ansible's own loader, and whatever other collections the Python has.
_CODE = """
import importlib, sys, types
package = types.ModuleType("ansible_collections")
package.__path__ = [sys.argv[1]]
sys.modules["ansible_collections"] = package
importlib.import_module(sys.argv[2]).main()
"""


class NoHeartbeat(Exception):
    """It did not begin; the text says why."""


def start(kube_clusters: Sequence[Json], lock: Json, holder: Holder) -> None:
    """Begin to renew `lock` every `holder.heartbeat` seconds, for as long as that process lives. Returns when it was renewed once everywhere.

    `kube_clusters` are the module's options. Raises NoHeartbeat.
    """
    given = {"kube_clusters": list(kube_clusters), "lock": lock, "holder": holder.as_dict()}
    folder = Path(__file__).parents[5]
    # It is none of what the run leaves behind, and has not its mark.
    environment = {name: value for name, value in os.environ.items() if name != processes.MARK_VARIABLE}
    try:
        # It is no module: it outlives the one that starts it, and tells that one by its output that it runs.
        beating = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [sys.executable, "-P", "-c", _CODE, str(folder), __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise NoHeartbeat(f"{sys.executable} cannot be started: {error.strerror}") from error
    answer = ""
    if beating.stdin and beating.stdout:
        # Where it has ended already, it says why. Not among the arguments, which every user of the host can read: the options may hold a token.
        with contextlib.suppress(BrokenPipeError), beating.stdin as asked:
            json.dump(given, asked)
        with beating.stdout as said:
            answer = said.readline().strip()
    if answer != _BEATS:
        beating.kill()
        beating.wait()
        raise NoHeartbeat(answer or f"{sys.executable} ended without a word")
    _beating.append(beating)


# It outlives the worker that has started it; Python would complain of a child that nobody waits for.
_beating: list[subprocess.Popen[str]] = []


def main() -> None:
    """The process of its own: reads from stdin what `start` gives, and says on stdout how it began."""
    given = json.load(sys.stdin)
    holder = Holder(**given["holder"])
    try:
        handle = os.pidfd_open(holder.pid)
        clusters = client.connect(given["kube_clusters"])
        each_cluster(clusters, lambda cluster: renew_one(cluster, given["lock"]))
    except (AttributeError, OSError, KubeError) as error:
        print(" ".join(str(error).split()), flush=True)  # pylint: disable=ansible-bad-function
        return
    # The id may have been another process' before the handle was there.
    if processes.started(holder.pid) != holder.started:
        print(f"process {holder.pid} has ended", flush=True)  # pylint: disable=ansible-bad-function
        return
    print(_BEATS, flush=True)  # pylint: disable=ansible-bad-function
    sys.stdout.close()
    over = threading.Event()
    for options in given["kube_clusters"]:
        threading.Thread(target=_beat, args=(options, given["lock"], holder.heartbeat, over), daemon=True).start()
    while not over.is_set():
        ended, _writable, _exceptional = select.select([handle], [], [], 1)
        if ended:
            break
    # Nobody waits for what is left; it is looked for as often as the lock is renewed.
    while not over.is_set() and any(left.sure for left in processes.left_of(holder.mark, holder.started, holder.cgroup)):
        over.wait(holder.heartbeat)
    # The threads end with the process, also one in the middle of a request.
    os._exit(0)


def _beat(options: Json, lock: Json, seconds: int, over: threading.Event) -> None:
    """Renew in one kube cluster until the lock is lost there. One that does not answer holds up no other one."""
    cluster = None
    while not over.wait(seconds):
        try:
            cluster = cluster or client.connect([options])[options["name"]]
            renew_one(cluster, lock)
        except LockLost:
            over.set()
        except KubeError:
            cluster = None  # with new credentials, next time
