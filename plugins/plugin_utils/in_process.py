# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module inside of Ansible's worker process where the connection is local.

A module in a process of its own is packed, started and given its imports anew with every task, which takes longer than what most
modules of this collection do. Ansible imports an action plugin in its main process, before it forks the worker: the Kubernetes client is
then there for every task.
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import AnsibleValidationError, UnsupportedError
from ansible.plugins.action import ActionBase

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import withheld
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import preload

Json = dict[str, Any]

preload.for_all_forks()

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


class InProcess(ActionBase):
    """Base class of the action plugins: `arguments` and `perform_run` are ARGUMENTS and run of the module of the same name.

    With `shows`, `perform_run` is also given `show`, which takes a line for whoever watches while it runs. With `facts`, it is also given those facts,
    by name: what is read a thousand members at a time is not to be copied by a template, which takes ten seconds for it. With `always`, it runs nowhere else:
    filters, facts and the display are in Ansible's own process alone.
    """

    arguments: ClassVar[Json] = {}
    perform_run: ClassVar[Callable[..., Json]]
    shows: ClassVar[bool] = False
    facts: ClassVar[Sequence[str]] = ()
    always: ClassVar[bool] = False

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        del tmp
        self._known = task_vars or {}
        arguments = self.with_facts(self._with_secrets(self._known))
        if self.in_process():
            result.update(self._perform(arguments))
        else:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=bool(self._task.async_val)))
        if not result.get("failed"):
            result.update(_as_json(self.by_facts(result)))
        return result

    def with_facts(self, arguments: Json) -> Json:
        """The task's arguments as the module takes them. Overridden where facts have what they only name."""
        return arguments

    def by_facts(self, result: Json) -> Json:
        """What facts add to the module's result."""
        del result
        return {}

    def fact(self, name: str) -> Any:
        """A fact as it is, or None. What a task gives under its name in `vars` is a template."""
        value = self._known.get(name)
        return self._templar.template(value) if isinstance(value, str) else value

    def observed(self) -> Any:
        """The fact hostnet_deployment."""
        found = self.fact("hostnet_deployment")
        if found is None:
            raise AnsibleActionFail("there is no fact hostnet_deployment: observe the deployment first")
        return found

    def _with_secrets(self, task_vars: Json) -> Json:
        """The task's arguments, and what the facts of the roles lack. The task's own stay without it: Ansible gives those to callbacks."""
        arguments: Json = self._task.args
        lacking = withheld.variables(arguments.get("kube_clusters"))
        if not lacking:
            return arguments
        known = {name: self._templar.template(task_vars.get(name)) for name in lacking}
        try:
            return {**arguments, "kube_clusters": withheld.restored(arguments["kube_clusters"], known)}
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error

    def in_process(self) -> bool:
        """Whether this call needs no process of its own: not another machine, user or time."""
        if self.always:
            return True
        become = getattr(self._connection, "become", None)
        return self._connection.transport == "local" and not become and not self._task.async_val

    def _perform(self, arguments: Json) -> Json:
        given = _as_json(arguments)
        # The one of modules: it also gives the warnings and deprecations that a module's own would.
        validation = ModuleArgumentSpecValidator(self.arguments).validate(given)
        secrets = validation._no_log_values | withheld.passwords(given.get("kube_clusters"))
        if validation.error_messages:
            msg = "; ".join(self._problem(error) for error in validation.errors.errors)
            return {"failed": True, "msg": remove_values(msg, secrets), "requests": 0}
        params: Json = validation.validated_parameters
        # As for a module: in the playbook's folder, with the task's environment.
        with chdir(self._loader.get_basedir()), _exported(self._environment()), _ends_with_the_playbook():
            run = type(self).perform_run
            shown = functools.partial(run, show=self._display.display) if self.shows else run
            if self.facts:
                shown = functools.partial(shown, facts=_as_json({name: self.fact(name) for name in self.facts}))
            result = _call.perform(self.arguments, shown, params, bool(self._task.check_mode), bool(getattr(self._task, "diff", False)))
        if self._display.verbosity >= 3:
            result["invocation"] = {"module_args": remove_values(params, secrets)}
        return _as_json(result)

    def _problem(self, error: AnsibleValidationError) -> str:
        prefix = f"Unsupported parameters for ({self._task.action}) module: " if isinstance(error, UnsupportedError) else ""
        return f"{prefix}{error.msg}"

    def _environment(self) -> dict[str, str]:
        given: Json = {}
        self._compute_environment_string(given)
        return {str(name): str(value) for name, value in _as_json(given).items()}


@contextmanager
def _ends_with_the_playbook() -> Iterator[None]:
    """On Linux, a worker whose ansible-playbook is killed (SIGKILL, which nobody can catch) dies at once with it.

    Otherwise it would finish its change after somebody else has taken the lock over from a holder that is provably dead. Only a worker
    that Ansible forked is meant: a parent that is not Ansible, such as a shell, may end when it likes.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    asked = prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) == 0
    if asked and os.getppid() != parent.pid:  # it died before it was asked for
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        yield
    finally:
        if asked:
            prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(0))


@contextmanager
def _exported(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _as_json(value: Any) -> Json:
    """What a module gets of its parameters, and Ansible of its result: plain JSON types, without Ansible's tags, and a copy."""
    decoded: Json = json.loads(json.dumps(value, default=_text))
    return decoded


def _text(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    # A string that ansible-vault encrypted decrypts itself here.
    return str(value)
