# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the members, and the reading of the answers: no I/O."""

from __future__ import annotations

import http.client
import io
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def render(text: str, variables: Mapping[str, Any]) -> str:
    """`text` with `{key}` replaced for each key of `variables`; other braces are left alone, as JSON and awk need them."""
    return _PLACEHOLDER.sub(lambda match: str(variables[match[1]]) if match[1] in variables else match[0], text)


def exit_status(status: Mapping[str, Any]) -> tuple[int | None, str]:
    """(exit code or None, error) of the Status object that ends an exec.

    Source: `metav1.Status` with reason `NonZeroExitCode` and the code in `details.causes`, as the kubelet sends it.
    """
    if status.get("status") == "Success":
        return 0, ""
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            try:
                return int(cause.get("message", "")), ""
            except ValueError:
                break
    return None, str(status.get("message") or "the command could not be started")


def parse_status(text: str) -> tuple[int | None, str]:
    """`exit_status` of the text of an exec's error channel."""
    try:
        status = json.loads(text)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        return None, text.strip() or "the connection ended before the command did"
    return exit_status(status)


class _Bytes:
    """What http.client reads an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_arguments: Any, **_options: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


class Answer(NamedTuple):
    """An HTTP answer; `stays` says that the server keeps the connection open for another request."""

    status: int
    body: bytes
    stays: bool


def http_answer(data: bytes, ended: bool) -> Answer | None:
    """The answer in the bytes that a server sent, or None while more is to come.

    `ended` says that the server closed the connection. Raises ValueError where the bytes are not an HTTP answer, or
    end in the middle of one.
    """
    if b"\r\n\r\n" not in data:
        if ended:
            raise ValueError(f"not an HTTP answer: {data[:80]!r}")
        return None
    response = http.client.HTTPResponse(_Bytes(data))  # type: ignore[arg-type]  # it only calls makefile
    try:
        response.begin()
        if not ended and response.length is None and not (response.chunked and data.endswith(b"\r\n\r\n")):
            return None  # without a length the body ends with the connection, and chunks end with an empty line
        return Answer(response.status, response.read(), not response.will_close)
    except http.client.IncompleteRead as error:
        if ended:
            raise ValueError(f"the answer ended too early, after {len(data)} bytes") from error
        return None
    except (http.client.HTTPException, ValueError) as error:
        if not ended and isinstance(error, ValueError):
            return None
        raise ValueError(f"not an HTTP answer ({type(error).__name__}): {data[:80]!r}") from error


def failures(
    results: Mapping[str, Mapping[str, Json]], kube_clusters: Mapping[str, str], commands: Mapping[str, Mapping[str, list[str]]]
) -> list[str]:
    """A line for each answer that is an error or an exit code other than 0.

    `kube_clusters` maps members to kube clusters, `commands` members to their rendered commands.
    """
    lines = []
    for member, answers in results.items():
        for name, answer in answers.items():
            asked = f"command {name} {commands[member][name]}" if "rc" in answer else f"HTTP request {name}"
            what = f"kube cluster {kube_clusters[member]}: member {member}: {asked}"
            if answer["error"]:
                lines.append(f"{what}: {answer['error']}")
            elif answer.get("rc"):
                said = " / ".join((answer["stderr"] or answer["stdout"]).strip().splitlines()[-5:])
                lines.append(f"{what} ended with exit code {answer['rc']}: {said}")
            elif answer.get("status", 200) >= 400:
                lines.append(f"{what}: HTTP status {answer['status']}: {answer['body'].strip()[:300]}")
    return lines
