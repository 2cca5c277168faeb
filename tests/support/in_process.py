# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules in the tests' own process: fast, and seen by coverage. `run.run_module` is the real way."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ansible.module_utils.testing import patch_module_args

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call


def call_module(name: str, args: Mapping[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """The result of one module of the collection, with its `invocation`; a failed one has `failed` true."""
    module = importlib.import_module(f"ansible_collections.hostnet.multicluster.plugins.modules.{name}")
    output = io.StringIO()
    given = {**args, "_ansible_check_mode": check, "_ansible_diff": diff}
    with patch_module_args(given), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def perform(module: ModuleType, options: Mapping[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """The result of one module as its action plugin runs it: the holder of a lock is the parent of this process. What is not given has its default."""
    defaults = {name: option.get("default") for name, option in module.ARGUMENTS.items()}
    return _call.perform(module.ARGUMENTS, module.run, {**defaults, **options}, check, diff)
