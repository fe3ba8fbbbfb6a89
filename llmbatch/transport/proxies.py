"""Finds the proxy of a base URL, and chooses the lane: httpx's behind a proxy, else the usual one."""

import urllib.request
from collections.abc import Callable

import httpx

from llmbatch.core.errors import UsageError
from llmbatch.core.loopback import is_loopback
from llmbatch.transport.base import BaseLane
from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.lane import Http11Lane
from llmbatch.transport.limits import Limits
from llmbatch.transport.tls import shared_context

__all__ = ["lane_opener", "proxy_for"]


def lane_opener(base_url: str, *, limits: Limits, ca_file: str | None = None) -> Callable[[], BaseLane]:
    """Return a function that makes one more lane to the base URL. Connections open with the first request.

    Raises UsageError for a proxy or certificates that cannot be used.
    """
    tls = shared_context(ca_file)
    if httpx.URL(base_url).scheme == "https":
        tls()  # at once, so that bad certificates are reported before anything is sent
    proxy = proxy_for(httpx.URL(base_url))
    if proxy is None:
        return lambda: Http11Lane(limits=limits, tls=tls)
    try:
        served = httpx.URL(proxy).scheme in ("http", "https")
    except httpx.InvalidURL:
        served = False
    if not served:
        raise UsageError(
            f"the proxy {proxy.split('://')[0]}://… is not supported",
            "Use an http:// proxy, or NO_PROXY for this host.",
        )
    return lambda: HttpxLane(limits=limits, tls=tls, proxy=proxy)


def proxy_for(url: httpx.URL) -> str | None:
    """Return the proxy of a URL by `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and so on. Loopback has none."""
    # NO_PROXY may name a host with or without its port.
    names = (url.host, url.netloc.decode("ascii"))
    if is_loopback(url.host) or any(urllib.request.proxy_bypass(name) for name in names):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
