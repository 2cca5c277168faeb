# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks members, many at a time: commands in their pods and HTTP requests to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._plan.exec import failures
from .client import KubeCluster, KubeError, each_cluster, in_parallel
from .exec import run_command
from .member import Member, rendered
from .pod_socket import of_the_way
from .port_forward import Http, Kept, http_request

Json = dict[str, Any]


def ask_members(
    clusters: dict[str, KubeCluster],
    members: Sequence[Member],
    commands: Mapping[str, Sequence[str]],
    http: Mapping[str, Http],
    timeout: float,
    *,
    stop_at_failure: bool = False,
    at_once: bool = False,
    read_only: bool = False,
    kept: Kept | None = None,
) -> dict[str, dict[str, Json]]:
    """Run all commands and HTTP requests on all members and return {member: {name: answer}}; nothing is raised.

    The members are asked in parallel, the commands of one member in their order. `stop_at_failure` leaves out what follows
    a failed command of the same member. `at_once` is for questions that need no order: a member that answers none of them
    costs the time limit of one then, not of all. `timeout` in seconds is for everything.

    What is in both `commands` and `http` is a request where its TLS files are here, and the command elsewhere. `read_only`: all of them change
    nothing, so what was lost on the way is asked again. `kept` has requests use the connections of the call before; they must change nothing then.
    With it, `at_once` has the requests to one port of a member share a connection, one after the other; where one has no answer, the rest of them
    have connections of their own, and where the member cannot be reached, none is sent.
    """
    deadline = time.monotonic() + timeout
    names = list(dict.fromkeys([*commands, *http]))

    def http_answer(part: _Part, name: str) -> tuple[Json, bool]:
        request = part.requests[name]
        return _request(clusters[part.member.kube_cluster], part.member, request, deadline, read_only or request.body is None, kept)

    def ask(part: _Part) -> dict[str, Json]:
        cluster = clusters[part.member.kube_cluster]
        answers: dict[str, Json] = {}
        for index, name in enumerate(part.names):
            if name in part.requests:
                answers[name], reached = http_answer(part, name)
                if part.shared and not answers[name]["status"]:
                    rest = part.names[index + 1 :]
                    # Of a member that was not reached the others would say the same. Of one that was, each speaks for itself, and none waits for another.
                    more = in_parallel(lambda other: http_answer(part, other)[0], rest) if reached else [answers[name]] * len(rest)
                    return {**answers, **dict(zip(rest, more, strict=True))}
                continue
            answers[name] = _command(cluster, part.member, rendered(part.member, commands[name]), deadline, read_only)
            if stop_at_failure and (answers[name]["error"] or answers[name]["rc"]):
                break
        return answers

    def ask_all(cluster: KubeCluster) -> list[tuple[str, dict[str, Json]]]:
        mine = [member for member in members if member.kube_cluster == cluster.name]
        parts = [part for member in mine for part in _parts(member, names, commands, http, at_once, kept is not None)]
        return [(part.member.member, answers) for part, answers in zip(parts, in_parallel(ask, parts), strict=True)]

    found: dict[str, dict[str, Json]] = {member.member: {} for member in members}
    involved = {name: cluster for name, cluster in clusters.items() if any(member.kube_cluster == name for member in members)}
    for answered in each_cluster(involved, ask_all).values():
        for name, answers in answered:
            found[name].update(answers)
    return {member: {name: answers[name] for name in names if name in answers} for member, answers in found.items()}


def told(results: Mapping[str, Mapping[str, Json]], members: Sequence[Member], commands: Mapping[str, Sequence[str]]) -> tuple[str, Json]:
    """What failed among the answers, or "", and what else a result says of that: `failures`, and `passing` where the same may succeed later."""
    asked = {member.member: {name: rendered(member, argv) for name, argv in commands.items()} for member in members}
    lines = failures(results, {member.member: member.kube_cluster for member in members}, asked)
    if not lines:
        return "", {}
    more = f" (and {len(lines) - 1} more failed: see failures)" if len(lines) > 1 else ""
    passing = any(answer.get("passing") for answers in results.values() for answer in answers.values())
    return lines[0] + more, {"failures": lines, **({"passing": True} if passing else {})}


@dataclass(frozen=True)
class _Part:
    """Questions to one member that are asked in their order; `shared`: over one connection."""

    member: Member
    names: list[str]
    requests: dict[str, Http]
    shared: bool = False


def _parts(
    member: Member, names: Sequence[str], commands: Mapping[str, Sequence[str]], http: Mapping[str, Http], at_once: bool, kept: bool
) -> list[_Part]:
    """What is asked of one member; each part beside the others."""
    rendered_requests = {name: request.rendered(member) for name, request in http.items()}
    requests = {name: one for name, one in rendered_requests.items() if name not in commands or (one.tls and one.tls.present())}
    if not at_once:
        return [_Part(member, list(names), requests)]
    ways: dict[object, list[str]] = {}
    for name in names:
        ways.setdefault(requests[name].way if kept and name in requests else name, []).append(name)
    return [_Part(member, some, requests, shared=len(some) > 1) for some in ways.values()]


def _command(cluster: KubeCluster, member: Member, argv: list[str], deadline: float, safe: bool) -> Json:
    answer: Json = {"rc": None, "stdout": "", "stderr": "", "error": ""}
    if not member.pod:
        return {**answer, "error": "the member has no pod"}
    try:
        return {**answer, **run_command(cluster, member.namespace, member.pod, member.container, argv, deadline, safe)}
    except KubeError as error:
        return {**answer, **_unknown(error)}


def _request(cluster: KubeCluster, member: Member, request: Http, deadline: float, safe: bool, kept: Kept | None) -> tuple[Json, bool]:
    """(answer, whether the member was reached, so that the request was sent to it)."""
    answer: Json = {"status": 0, "body": "", "error": ""}
    if not member.pod:
        return {**answer, "error": "the member has no pod"}, False
    reached = threading.Event()
    if request.timeout:
        deadline = min(deadline, time.monotonic() + request.timeout)
    host = str(member.all_variables().get("address", "localhost"))
    try:
        status, body = http_request(cluster, member.namespace, member.pod, request, host, deadline, kept, safe, reached.set)
    except KubeError as error:
        return {**answer, **_unknown(error)}, reached.is_set()
    return {**answer, "status": status, "body": body.decode("utf-8", "replace")}, True


def _unknown(error: KubeError) -> Json:
    """The part of an answer that says why there is none; `passing` where the same may well succeed later."""
    said: Json = {"error": f"{error.what}: {error.detail}"}
    return {**said, "passing": True} if of_the_way(error) else said
