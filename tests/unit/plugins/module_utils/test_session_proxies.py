# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy stands before an API server."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import proxies
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.options import AccessError

URL = "https://api.east.example.com:6443"
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def choose(url: str = URL, option: str | None = None, no_proxy: str | None = None, kubeconfig: str = "", **environment: str) -> str | None:
    """`small_https_proxy` and so on are variables with small letters."""
    variables = {name.removeprefix("small_"): value for name, value in environment.items()}
    found: str | None = proxies.choose(url, option, no_proxy, kubeconfig, "clusters[c].proxy-url", variables)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"option": "http://o:1", "kubeconfig": "http://k:1", "HTTPS_PROXY": "http://e:1"}, "http://o:1"),
        ({"kubeconfig": "http://k:1", "HTTPS_PROXY": "http://e:1"}, "http://k:1"),
        ({"HTTPS_PROXY": "http://e:1"}, "http://e:1"),
        ({"small_https_proxy": "http://e:1"}, "http://e:1"),
        ({"small_https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:1"}, "http://large:1"),
        ({"HTTPS_PROXY": "e:1"}, "http://e:1"),
        ({"HTTP_PROXY": "http://e:1"}, None),
        ({"url": "http://api:80", "HTTP_PROXY": "http://e:1"}, "http://e:1"),
        ({"url": "http://api:80", "HTTPS_PROXY": "http://e:1"}, None),
        ({"HTTPS_PROXY": "http://e:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://e:1", "small_no_proxy": "*"}, None),
        # The environment's exceptions are those of the environment's proxy.
        ({"option": "http://o:1", "NO_PROXY": "*"}, "http://o:1"),
        ({"kubeconfig": "http://k:1", "NO_PROXY": "*"}, "http://k:1"),
        # The option's are for every proxy, and stand in the place of the environment's.
        ({"option": "http://o:1", "no_proxy": "*"}, None),
        ({"kubeconfig": "http://k:1", "no_proxy": "example.com"}, None),
        ({"HTTPS_PROXY": "http://e:1", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://e:1", "NO_PROXY": "*", "no_proxy": "elsewhere"}, "http://e:1"),
        ({"url": "https://127.0.0.1:6443", "HTTPS_PROXY": "http://e:1"}, None),
        ({"url": "https://[::1]:6443", "HTTPS_PROXY": "http://e:1"}, None),
        ({"url": "https://localhost", "HTTPS_PROXY": "http://e:1"}, None),
        ({"url": "https://127.0.0.1:6443", "option": "https://o:1"}, "https://o:1"),
    ],
)
def test_which_proxy(given: dict[str, str], expected: str | None) -> None:
    assert choose(**given) == expected


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("https://api.example.com", "example.com", True),
        ("https://example.com", "example.com", True),
        ("https://api.example.com", ".example.com", True),
        ("https://example.com", ".example.com", False),
        ("https://api.example.com", "*.example.com", True),
        ("https://example.com", "*.example.com", False),
        ("https://notexample.com", "example.com", False),
        ("https://notexample.com", "*example.com", False),
        ("https://API.Example.com.", " other , EXAMPLE.com ", True),
        ("https://api.example.com:6443", "example.com:6443", True),
        ("https://api.example.com:6443", "example.com:443", False),
        ("https://api.example.com", "example.com:443", True),
        ("http://api.example.com", "example.com:80", True),
        ("https://10.0.0.5:6443", "10.0.0.0/8", True),
        ("https://10.0.0.5:6443", "10.0.0.1/8", True),
        ("https://11.0.0.5:6443", "10.0.0.0/8", False),
        ("https://10.0.0.5:6443", "10.0.0.5", True),
        ("https://10.0.0.5:6443", "10.0.0.5:6443", True),
        ("https://10.0.0.5:6443", "10.0.0.5:1", False),
        ("https://10.0.0.51:6443", "10.0.0.5", False),
        ("https://10.0.0.5", "0.5", False),
        ("https://[fd00::5]:6443", "fd00::/8", True),
        ("https://[fd00::5]:6443", "fd00:0::5", True),
        ("https://[fd00::5]:6443", "[fd00::5]:6443", True),
        ("https://[fd00::5]:6443", "[fd00::5]:1", False),
        ("https://[fd00::5]:6443", "10.0.0.0/8", False),
        ("https://api.example.com", "10.0.0.0/8", False),
        ("https://api.example.com", ",, ,:443,/,a/b,", False),
        ("https://anything", "*", True),
        ("https://anything", "x,*", True),
    ],
)
def test_who_is_reached_without_a_proxy(url: str, no_proxy: str, expected: bool) -> None:
    assert proxies.bypassed(urlsplit(url), no_proxy) is expected


@given(DOMAINS, DOMAINS)
def test_a_domain_has_what_is_below_it_and_nothing_else(host: str, domain: str) -> None:
    target = urlsplit(f"https://{host}")
    below = host.split(".")[-len(domain.split(".")) :] == domain.split(".")
    assert proxies.bypassed(target, domain) is below
    assert proxies.bypassed(target, f".{domain}") is (below and host != domain)


@given(st.ip_addresses(), st.integers(0, 128))
def test_networks(address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int) -> None:
    target = urlsplit(f"https://[{address}]" if address.version == 6 else f"https://{address}")
    bits = min(bits, address.max_prefixlen)
    assert proxies.bypassed(target, str(ipaddress.ip_network((address, bits), strict=False)))
    assert proxies.bypassed(target, f"{address}/{bits}")


@given(st.text())
def test_nonsense_never_fails(no_proxy: str) -> None:
    assert isinstance(proxies.bypassed(urlsplit(URL), no_proxy), bool)


@pytest.mark.parametrize("proxy", ["socks5://user:hunter2@p:1080", "socks5h://p:1080", "socks4://p"])
def test_socks_is_refused_with_what_to_do(proxy: str) -> None:
    with pytest.raises(
        AccessError, match=r"SOCKS proxy.*give the URL of an HTTP proxy, or open a tunnel \(ssh -L .*tls_server_name"
    ) as error:
        choose(kubeconfig=proxy)
    assert error.value.field == "clusters[c].proxy-url"
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("proxy", ["ftp://hunter2", "http://", "http://p:hunter2", "http://[hunter2", "http://p:0", "//hunter2", "hunter2"])
def test_what_is_no_proxy(proxy: str) -> None:
    with pytest.raises(AccessError, match="is no URL of a proxy") as error:
        choose(option=proxy)
    assert error.value.field == "proxy"
    assert "hunter2" not in str(error.value)
    with pytest.raises(AccessError) as error:
        choose(HTTPS_PROXY="socks5://p:1")
    assert error.value.field == "environment variable HTTPS_PROXY"


def test_user_and_password_of_a_proxy() -> None:
    assert proxies.split("http://p") == ("http://p:80", {})
    assert proxies.split("https://u:a%40b@[::1]") == ("https://[::1]:443", {"Proxy-Authorization": "Basic dTphQGI="})
    assert proxies.split("http://u@p:3128") == ("http://p:3128", {"Proxy-Authorization": "Basic dTo="})
