# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a connection ended with, from the exceptions of the libraries."""

from __future__ import annotations

import ssl

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.errors import explained, failure
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import retry


def raised(error: Exception, during: Exception) -> Exception:
    """`error` as it comes from a library that was handling another one."""
    try:
        try:
            raise during
        except Exception:
            raise error  # noqa: B904  as the library does
    except Exception as found:
        return found


@pytest.mark.parametrize("waiting", [ssl.SSLWantReadError(), ssl.SSLWantWriteError()])
@pytest.mark.parametrize(
    ("error", "how"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), retry.BROKEN),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), retry.BROKEN),
        (TimeoutError("timed out"), retry.SILENT),
    ],
)
def test_what_breaks_while_tls_waits_for_more(error: Exception, how: str, waiting: Exception) -> None:
    """websocket-client reads again in the handler of the exception that there is nothing to read yet."""
    found = raised(error, waiting)
    assert failure(found).how == how
    told = explained("east", "https://a", "exec", found)
    assert told.passing
    assert "did not complete" not in str(told)


def test_a_refusal_of_tls_comes_again() -> None:
    assert failure(ssl.SSLError(1, "wrong version number")).how == retry.HOPELESS
