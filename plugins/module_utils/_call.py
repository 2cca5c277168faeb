# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a module that talks to kube clusters, the same in a module's own process and in Ansible's.

A module's file has `ARGUMENTS`, `run(call)` and `main()`. `run` returns the module's result or raises Failure or KubeError; everything
else that such modules have in common is here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import _list_no_log_values, remove_values

from ._cluster import client
from ._cluster.lock import verify
from ._cluster.session import libraries
from ._plan import withheld

Json = dict[str, Any]

# Of a module that talks to no API server: they come from the module_defaults of the action group, and are not used.
IGNORED: Json = {"kube_clusters": {"type": "list", "elements": "dict"}, "lock": {"type": "dict"}}


class Failure(Exception):
    """Ends the call as failed, with `msg` and, beside it, what is in `result`."""

    def __init__(self, msg: str, **result: Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.result = result

    @classmethod
    def of(cls, error: client.KubeError, **result: Any) -> Failure:
        """That of an API server; `passing`: the same may well succeed later."""
        return cls(str(error), **result, **({"passing": True} if error.passing else {}))


def known(facts: Mapping[str, Any], names: Iterable[str], **result: Any) -> list[Any]:
    """The facts of these names, which only an observation makes. Raises Failure, with `result`, where one is not there."""
    lacking = [name for name in names if facts.get(name) is None]
    if lacking:
        raise Failure(f"there is no fact {', '.join(lacking)}: observe the deployment first", **result)
    return [facts[name] for name in names]


class Call:
    """What a module was asked: its checked parameters, `--check`, `--diff`, and the kube clusters."""

    def __init__(self, params: Json, check_mode: bool = False, diff: bool = False, clusters: dict[str, client.KubeCluster] | None = None):
        self.params = params
        self.check_mode = check_mode
        self.diff = diff
        self._clusters = clusters or {}
        self._verified = clusters is not None
        self._others: dict[str, client.KubeCluster] = {}

    @property
    def clusters(self) -> dict[str, client.KubeCluster]:
        """The kube clusters by name, in sorted order.

        They are opened, and the lock is verified, when this is first asked for: what a module finds wrong in its parameters needs
        neither a credential plugin nor a request. Raises KubeError, and LockLost (which is one).
        """
        if not self._verified:
            self._clusters = client.connect(self.params["kube_clusters"])
            if self.params.get("lock"):
                still_held = functools.partial(verify, self._clusters, self.params["lock"])
                still_held()
                for cluster in self._clusters.values():
                    cluster.before_again = still_held
                    cluster.patient = True
            self._verified = True
        return self._clusters

    def part(self, arguments: Json, options: Json) -> Call:
        """The call of another module, with those `arguments`, as a part of this one: with its connections. What `options` lack has its default.

        Raises KubeError, and LockLost (which is one).
        """
        defaults = {name: option.get("default") for name, option in arguments.items()}
        params = {**defaults, "kube_clusters": self.params["kube_clusters"], **options}
        return Call(params, self.check_mode, self.diff, self.clusters)

    def other(self, options: Json) -> client.KubeCluster:
        """One more kube cluster, which has no part of the deployment: its lock is not looked for there, but before what is sent again."""
        found = client.connect([options])[options["name"]]
        found.before_again = self.still_held
        self._others[found.name] = found
        return found

    def still_held(self) -> None:
        """Before one more change of a call that takes long. Raises LockLost (a KubeError) where the lock is this run's no more."""
        for cluster in list(self.clusters.values())[:1]:
            cluster.before_again()

    @property
    def secrets(self) -> set[str]:
        """What the connections know and no result may show."""
        return {secret for cluster in [*self._clusters.values(), *self._others.values()] for secret in cluster.secrets}

    @property
    def requests(self) -> int:
        """API requests sent so far."""
        return client.total_requests(self._clusters) + client.total_requests(self._others)


Run = Callable[[Call], Json]


def perform(arguments: Json, run: Run, params: Json, check_mode: bool, diff: bool) -> Json:
    """The result of one call. `params` were checked against `arguments`.

    A failed one has `failed` true and `msg`. `requests` is in all of them, and values of options that are `no_log` in none.
    """
    call = Call(params, check_mode, diff)
    lacking = libraries.missing()
    if lacking:
        result = {"failed": True, "msg": lacking}
    else:
        try:
            result = run(call)
        except (Failure, client.KubeError) as error:
            failure = error if isinstance(error, Failure) else Failure.of(error)
            result = {**failure.result, "failed": True, "msg": failure.msg}
    result["requests"] = call.requests
    secrets = _list_no_log_values(arguments, params) | call.secrets | withheld.passwords(params.get("kube_clusters"))
    # remove_values would make text of what is not in secret: flags, numbers and nulls stay as they are.
    plain = {key: value for key, value in result.items() if value is None or isinstance(value, (bool, int))}
    return {**remove_values(result, secrets), **plain} if secrets else result


def stray(params: Mapping[str, Any], option: str) -> str:
    """Which entry of `option` (a list of them, or one) names a kube cluster that kube_clusters does not have, or `` when none does."""
    names = [options["name"] for options in params["kube_clusters"]]
    given = params[option]
    for field, entry in [(option, given)] if isinstance(given, dict) else [(f"{option}[{index}]", one) for index, one in enumerate(given)]:
        if entry["kube_cluster"] not in names:
            return f"{field}.kube_cluster is {entry['kube_cluster']!r}, which is not in kube_clusters ({', '.join(names)})"
    return ""


def main(arguments: Json, run: Run, **options: Any) -> None:
    """A module's main(): the call in a process of its own. `options` are AnsibleModule's."""
    module = basic.AnsibleModule(argument_spec=arguments, supports_check_mode=True, **options)
    module.no_log_values |= withheld.passwords(module.params.get("kube_clusters"))
    result = perform(arguments, run, module.params, module.check_mode, module._diff)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)
