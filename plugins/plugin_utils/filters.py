# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filter plugins share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def errors_of_input(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """`function` as a filter: errors that a user's input can cause end as one line, after the filter's `name` if given, not as a traceback."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise AnsibleFilterError(f"{name}: {error}" if name else str(error)) from error

    return called
