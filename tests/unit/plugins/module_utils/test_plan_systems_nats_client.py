# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encoding of nkeys and NATS' protocol, against what nats-io/nkeys and nats-server give."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import nats_nkeys, nats_protocol

KEYS = st.binary(min_size=nats_nkeys.KEY_BYTES, max_size=nats_nkeys.KEY_BYTES)


@given(KEYS)
def test_a_seed_is_read_as_it_was_written(seed: bytes) -> None:
    text = nats_nkeys.seed_nkey(seed)
    assert text.startswith("SU")
    assert len(text) == 58
    assert nats_nkeys.seed_of(f"{text}\n") == seed
    public = nats_nkeys.public_nkey(seed)
    assert public.startswith("U")
    assert len(public) == 56


@given(KEYS, st.integers(0, 57), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_seed_with_another_letter_is_none_and_is_not_shown(seed: bytes, place: int, letter: str) -> None:
    text = nats_nkeys.seed_nkey(seed)
    other = text[:place] + letter + text[place + 1 :]
    if other != text:
        with pytest.raises(ValueError, match="not the seed") as caught:
            nats_nkeys.seed_of(other)
        assert other not in str(caught.value)


@pytest.mark.parametrize("text", ["", "SU", "hello", "x" * 58, nats_nkeys.public_nkey(bytes(32)), "ü"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(ValueError, match="not the seed"):
        nats_nkeys.seed_of(text)
    with pytest.raises(ValueError, match="32 bytes"):
        nats_nkeys.public_nkey(b"short")


@given(KEYS)
def test_a_public_key_is_found_in_a_configuration(key: bytes) -> None:
    public, seed = nats_nkeys.public_nkey(key), nats_nkeys.seed_nkey(key)
    text = f'accounts {{ $SYS {{ users: [ {{ nkey: "{public}" }} ] }} }} # {seed} {public}X'
    assert nats_nkeys.public_nkeys([text, "", text]) == [public]


def test_the_pair_of_the_nkeys_library() -> None:
    """The pair that the library's own tests of Python (nkeys.py) have."""
    seed = nats_nkeys.seed_of("SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert nats_nkeys.public_nkey(public) == "UCK5N7N66OBOINFXAYC2ACJQYFSOD4VYNU6APEJTAVFZB2SVHLKGEW7L"


STREAM = (
    b'INFO {"nonce": "n"}\r\nPING\r\n+OK\r\nMSG _INBOX.1 1 5\r\nhe\r\no\r\nMSG _INBOX.1 1 reply 0\r\n\r\n'
    b"HMSG _INBOX.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n-ERR 'Authorization Violation'\r\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_messages_are_the_same_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    found, left = [], b""
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        left += STREAM[start:end]
        while True:
            message, left = nats_protocol.parse(left)
            if message is None:
                break
            found.append(message)
    assert [message.verb for message in found] == ["INFO", "PING", "+OK", "MSG", "MSG", "MSG", "-ERR"]
    assert json.loads(found[0].text) == {"nonce": "n"}
    assert [message.payload for message in found[3:6]] == [b"he\r\no", b"", b""]
    assert [message.status for message in found[3:6]] == ["", "", "503"]
    assert found[6].text == "'Authorization Violation'"
    assert left == b""


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n", b"MSG\r\n", b"MSG a 1 x\r\n", b"HMSG a 1 5\r\n", b"x" * (nats_protocol.LINE_LIMIT_BYTES + 1)]
)
def test_what_is_not_the_protocol(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"NATS|without an end"):
        nats_protocol.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error_or_too_few(data: bytes) -> None:
    try:
        message, rest = nats_protocol.parse(data)
    except ValueError:
        return
    assert data.endswith(rest)
    assert message is not None or rest == data


def test_what_a_client_sends() -> None:
    line, ping, end = nats_protocol.connect("UKEY", b"\xff\xfe\xfd").split(b"\r\n")
    options = json.loads(line.removeprefix(b"CONNECT "))
    assert (ping, end, options["nkey"]) == (b"PING", b"", "UKEY")
    assert base64.urlsafe_b64decode(options["sig"]) == b"\xff\xfe\xfd"
    assert (
        nats_protocol.publish("$JS.API.X", "_INBOX.1", {"peer": "a"}) == b'SUB _INBOX.1 1\r\nPUB $JS.API.X _INBOX.1 13\r\n{"peer": "a"}\r\n'
    )
