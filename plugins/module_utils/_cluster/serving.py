# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What members show in a TLS handshake, and how they come to show what was just written into their Secrets.

A member listens on its host's address, which the controller may not reach and where no port-forward leads. So the bytes go through a short-lived
pod on the host's network, and TLS is spoken here, with the member's own certificate: its log has no failed handshake of ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .._plan.run import Script
from .._plan.serving import Endpoint, Leaf, missing
from . import tls
from .client import KubeCluster, KubeError, in_parallel
from .exec import run_command, tunnel
from .kinds import POD
from .member import Member, rendered
from .run import Target, pod_on_node

# A pod's annotation: any change of its pod makes the kubelet look at its volumes at once, and not within a minute.
LOOK_ANNOTATION = "hostnet.multicluster/certificates-renewed"
# Of one handshake. The first one waits for a new connection through the API server too.
_HANDSHAKE_SECONDS = 20.0
# Between two tries of a reload. NATS does a good deal at each: it is asked as seldom as that still is quick.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 8.0

Seen: TypeAlias = "dict[tuple[str, str], Leaf]"


@dataclass(frozen=True)
class Look:
    """How members are looked at: the pod that the bytes go through, and `read`, which makes facts of a certificate (DER)."""

    script: Script
    read: Callable[[bytes], Leaf]

    def through(self, member: Member) -> Script:
        """A pod of its own for each member: several are looked at at once."""
        return replace(self.script, name=f"{self.script.name}-{member.member}")


def look(clusters: Mapping[str, KubeCluster], members: Sequence[Member], wanted: Sequence[Endpoint], how: Look, deadline: float) -> Seen:
    """What all `members` show, all of them at once. What cannot be asked says why in its `error`."""

    def one(member: Member) -> Seen:
        mine = [endpoint for endpoint in wanted if endpoint.member == member.member]
        if not mine:
            return {}
        cluster = clusters[member.kube_cluster]
        try:
            with pod_on_node(cluster, Target(cluster.name, str(member.variables["node"])), how.through(member), deadline) as pod:
                return _shown(cluster, member, mine, pod, how, deadline)
        except KubeError as error:
            return {(endpoint.member, endpoint.port): Leaf(error=str(error)) for endpoint in mine}

    return {key: leaf for seen in in_parallel(one, list(members)) for key, leaf in seen.items()}


def bring(
    cluster: KubeCluster, member: Member, wanted: Sequence[Endpoint], reload: Sequence[str], how: Look, deadline: float
) -> tuple[Seen, bool]:
    """What the member shows once that is what it has to show, or at `deadline` (time.monotonic() seconds); and whether it was asked to reload.

    `reload` is a command in its container; empty where the process reads its files at each handshake. Raises KubeError where the pod cannot be
    asked at all.
    """
    mine = [endpoint for endpoint in wanted if endpoint.member == member.member]
    pause, asked, tries = _FIRST_PAUSE, False, 0
    with pod_on_node(cluster, Target(cluster.name, str(member.variables["node"])), how.through(member), deadline) as pod:
        while True:
            tries += 1
            _have_looked(cluster, member, f"{mine[0].serial}-{tries}")
            if reload:
                # Also before the files are there: what counts is what it shows afterwards.
                run_command(cluster, member.namespace, member.pod, member.container, rendered(member, reload), deadline)
                asked = True
            seen = _shown(cluster, member, mine, pod, how, deadline)
            if not missing(mine, seen) or time.monotonic() + pause >= deadline:
                return seen, asked
            time.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)


def _have_looked(cluster: KubeCluster, member: Member, value: str) -> None:
    """Have the kubelet look at the pod's volumes now. Whoever may not change pods waits for a minute longer."""
    with contextlib.suppress(KubeError):
        cluster.merge_patch(POD, member.pod, {"metadata": {"annotations": {LOOK_ANNOTATION: value}}}, member.namespace)


def _shown(cluster: KubeCluster, member: Member, endpoints: Sequence[Endpoint], pod: str, how: Look, deadline: float) -> Seen:
    return {(endpoint.member, endpoint.port): _handshake(cluster, member, endpoint, pod, how, deadline) for endpoint in endpoints}


def _handshake(cluster: KubeCluster, member: Member, endpoint: Endpoint, pod: str, how: Look, deadline: float) -> Leaf:
    variables = member.all_variables()
    address = str(variables["address"])
    files = tls.Files(str(variables["ca"]), f"{variables['pki']}/{endpoint.file}.crt", f"{variables['pki']}/{endpoint.file}.key")
    until = min(deadline, time.monotonic() + _HANDSHAKE_SECONDS)
    try:
        with tunnel(cluster, how.script.namespace, pod, "run", ["nc", address, str(endpoint.number)], until) as stream:
            if endpoint.greets:
                _greeting(stream)
            return how.read(tls.Tls(stream, files.looking(), address).certificate())
    except (tls.TlsError, KubeError) as error:
        return Leaf(error=str(error))


def _greeting(stream: tls.Stream) -> None:
    """The line that the server says first. TLS begins after it, and not before the client does."""
    said = b""
    while not said.endswith(b"\r\n"):
        more = stream.receive()
        if not more:
            raise tls.TlsClosed("the server closed the connection before it said anything")
        said += more
