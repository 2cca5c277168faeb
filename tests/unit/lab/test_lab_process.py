# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab makes of its commands on a slow machine."""

from __future__ import annotations

import sys

import pytest

from support.collection import CHECKOUT


def test_a_command_with_input_may_take_longer_than_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT / "molecule" / "lab"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    from lablib import process

    monkeypatch.setattr(process, "TICK", 0.01)
    # Reads nothing before the first look is over: the second one must not send the input again.
    script = "import sys, time; time.sleep(0.2); print(len(sys.stdin.read()))"
    assert process.output([sys.executable, "-c", script], data=b"x" * 1_000_000).strip() == "1000000"
