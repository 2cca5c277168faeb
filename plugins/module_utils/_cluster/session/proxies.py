# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy stands before an API server: pure functions, by kubectl's rules."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from .options import AccessError

_PORTS = {"http": 80, "https": 443}
_NO_SOCKS = (
    "is a SOCKS proxy, which is not supported: give the URL of an HTTP proxy, or open a tunnel (ssh -L 6443:API-SERVER:443 HOST) and set host to "
    "https://127.0.0.1:6443 and tls_server_name to the API server's name"
)


def choose(
    url: str, option: str | None, no_proxy: str | None, kubeconfig: str, kubeconfig_field: str, environment: Mapping[str, str]
) -> str | None:
    """URL of the proxy to `url`, None for none. The option comes first, then the kubeconfig's, then that of the environment.

    `no_proxy` is for whichever it is. Without it the environment's NO_PROXY is for the environment's proxies alone, which also never stand before
    loopback addresses. Raises AccessError for a proxy that cannot be used.
    """
    target = urlsplit(url)
    if no_proxy and bypassed(target, no_proxy):
        return None
    for field, proxy in (("proxy", option), (kubeconfig_field, kubeconfig)):
        if proxy:
            return checked(field, proxy)
    names = [f"{target.scheme}_proxy".upper(), f"{target.scheme}_proxy"]
    name = next((name for name in names if environment.get(name)), None)
    if name is None or _loopback(target.hostname or ""):
        return None
    if not no_proxy and bypassed(target, environment.get("NO_PROXY") or environment.get("no_proxy") or ""):
        return None
    proxy = environment[name]
    return checked(f"environment variable {name}", proxy if "://" in proxy else f"http://{proxy}")


def checked(field: str, proxy: str) -> str:
    """`proxy` where it is a URL of one that can be used. Raises AccessError; the URL may have a password, so the text has none of it."""
    try:
        parts = urlsplit(proxy)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise AccessError(field, "is no URL of a proxy; it is written as http://proxy.example.com:3128") from None
    if parts.scheme.startswith("socks"):
        raise AccessError(field, _NO_SOCKS)
    if parts.scheme not in _PORTS or not named:
        raise AccessError(field, "is no URL of a proxy; it is written as http://proxy.example.com:3128")
    return proxy


def split(proxy: str) -> tuple[str, dict[str, str]]:
    """(URL without user and password, headers that say who asks) of a proxy's URL."""
    parts = urlsplit(proxy)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    url = f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}"
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return url, {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def bypassed(target: SplitResult, no_proxy: str) -> bool:
    """Whether `no_proxy` has the host of a URL: names, domains (`.example.com`, `*.example.com`: what is below), addresses, networks, `*`.

    A name is for what is below it too. Each may end in a port.
    """
    host = (target.hostname or "").rstrip(".").lower()
    port = target.port or _PORTS.get(target.scheme)
    address = _address(host)
    for item in (part.strip().lower() for part in no_proxy.split(",")):
        if item == "*":
            return True
        if "/" in item:
            # What is neither a network nor a name says nothing.
            with contextlib.suppress(ValueError):
                if address is not None and address in ipaddress.ip_network(item, strict=False):
                    return True
            continue
        name, wanted = _with_port(item)
        if not name or (wanted and wanted != str(port)):
            continue
        listed = _address(name)
        if listed is not None or address is not None:
            if listed == address:
                return True
            continue
        name = name.rstrip(".")
        name = name.removeprefix("*") if name.startswith("*.") else name
        if name and (host.endswith(name) if name.startswith(".") else (host == name or host.endswith(f".{name}"))):
            return True
    return False


def _with_port(item: str) -> tuple[str, str]:
    """(name or address, port or "") of an item of no_proxy."""
    if item.startswith("["):
        name, _bracket, rest = item[1:].partition("]")
        return name, rest.removeprefix(":")
    if item.count(":") == 1:
        name, _colon, port = item.partition(":")
        return name, port
    return item, ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)
