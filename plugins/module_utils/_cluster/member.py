# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member and the pod it runs in, as modules are given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._plan import exec as plan

Json = dict[str, Any]


def members_argument() -> Json:
    """Argument spec of the option `members`, the same in every module that asks members."""
    return {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "member": {"type": "str", "required": True},
            "kube_cluster": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "pod": {"type": "str", "required": True},
            "container": {"type": "str", "default": ""},
            "variables": {"type": "dict", "default": {}},
        },
    }


@dataclass(frozen=True)
class Member:
    """A member and the pod it runs in; `pod` `` says that it has none."""

    member: str
    kube_cluster: str
    namespace: str
    pod: str
    container: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

    def all_variables(self) -> dict[str, Any]:
        """What `{key}` in commands and paths may name."""
        return {"member": self.member, "kube_cluster": self.kube_cluster, "namespace": self.namespace, "pod": self.pod, **self.variables}


def rendered(member: Member, argv: Sequence[str]) -> list[str]:
    """The command of one member."""
    variables = member.all_variables()
    return [plan.render(str(argument), variables) for argument in argv]
