# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long matrices: each commit tries a part, the next one another; the same commit tries the same part again, and make soak all of it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from .collection import CHECKOUT

Value = TypeVar("Value")


def commit() -> str:
    """The commit that is checked out; empty without one."""
    command = ("git", "rev-parse", "HEAD")
    return subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout.strip()


def part(values: Sequence[Value], count: int) -> list[Value]:
    """`count` of the values, chosen by the commit."""
    return random.Random(commit()).sample(list(values), count)


def parameters(values: Sequence[tuple[str, ...]], count: int) -> list[Any]:
    """All of these as pytest's parameters; those that this commit does not try are `long`."""
    chosen = set(part(values, count))
    return [pytest.param(*value, id=": ".join(value), marks=[] if value in chosen else [pytest.mark.long]) for value in values]
