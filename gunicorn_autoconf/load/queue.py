"""How long a request waited between a proxy and the worker, by the proxy's header. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# When the proxy got the request: X-Request-Start as Gunicorn's parser has it, and as ASGI has it.
WSGI_HEADER = "X-REQUEST-START"
ASGI_HEADER = b"x-request-start"

# "t=" is nginx's and Apache's habit; Heroku sends the number alone. Of several, proxies in a row
# for example, the first is the oldest.
_TIME = re.compile(r"\s*(?:t=)?([0-9]{9,20})(\.[0-9]{1,9})?\s*(?:,|$)", re.ASCII | re.IGNORECASE)

# From here on the number is in ms, µs or ns: in seconds it would be the year 5138 or later.
_UNITS = ((10**17, 1e9), (10**14, 1e6), (10**11, 1e3))

# Two machines' clocks differ. A request that seems to come from the near future has not waited ...
SKEW_SECONDS = 1.0
# ... and no request waits for so long: that is a wrong clock, or a header from somewhere else.
LONGEST_SECONDS = 600.0


def parse_request_start(text: str) -> float | None:
    """
    Return the time in the header in seconds since 1970; None where it holds none.

    It may be given in seconds, milliseconds, microseconds or nanoseconds, with or without ``t=``.

    >>> parse_request_start("t=1700000000.250")
    1700000000.25
    >>> parse_request_start("1700000000250")
    1700000000.25
    """
    match = _TIME.match(text)
    if match is None:
        return None
    whole, fraction = match.groups()
    per_second = next((unit for least, unit in _UNITS if int(whole) >= least), 1.0)
    return float(whole + (fraction or "")) / per_second


def queue_seconds(text: str, now_seconds: float) -> float | None:
    """
    Return how long a request with this header has waited; None where that cannot be told.

    *text* is the header's value, *now_seconds* the time since 1970.

    >>> queue_seconds("t=1700000000000", 1700000000.25)
    0.25
    """
    start_seconds = parse_request_start(text)
    if start_seconds is None:
        return None
    waited_seconds = now_seconds - start_seconds
    if not -SKEW_SECONDS <= waited_seconds <= LONGEST_SECONDS:
        return None
    return max(waited_seconds, 0.0)


class TrustedProxies:
    """Whose header counts: the addresses and networks of the setting ``forwarded_allow_ips``."""

    def __init__(self, allowed: str | Iterable[str]) -> None:
        """Take the setting as Gunicorn has it, a list, or as one text with commas."""
        names = allowed.split(",") if isinstance(allowed, str) else allowed
        self._names = frozenset(name.strip() for name in names)
        self._networks = [network for name in self._names if (network := _network(name))]
        # A proxy has one address and sends many requests.
        self.trusts = lru_cache(maxsize=256)(self._trusts)
        """Whether the peer with this address is trusted; None for a Unix socket's, which is."""

    def _trusts(self, host: str | None) -> bool:
        if host is None or "*" in self._names or host in self._names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            # A socket for both families shows an IPv4 peer as ::ffff:10.0.0.1.
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _network(name: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(name, strict=False)
    except ValueError:
        return None  # A host name, or "*".
