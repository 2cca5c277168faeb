# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser for the tests of a module, and pages for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import browser
from support.browser import Page


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    program = browser.program()
    if program is None:
        pytest.skip("NOT RUN: there is no chromium and no google-chrome here")
    with browser.page(program) as found:
        yield found
