"""Who may ask: by the name the service is addressed with, the web page that asks, and the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope


@dataclass(frozen=True)
class Access:
    """Whose requests are served.

    A web page of anyone can make a browser ask a service on the same machine. Such a request has an ``Origin`` that is
    not the service's, or, where the page's own name was made to lead here (DNS rebinding), that name as ``Host``.

    Attributes:
        token: must come with a request for landmarks, as ``Authorization: Bearer TOKEN``; None asks for none.
        hosts: names by which the service may be addressed, besides ``localhost`` and any IP address; ``*`` is all.
        origins: web pages that may ask, besides the service's own, as ``https://example.org``; ``*`` is all.
    """

    token: str | None = None
    hosts: Collection[str] = ()
    origins: Collection[str] = ()

    def problem(self, scope: Scope) -> str | None:
        """Why a request comes by a wrong name or from a wrong page; None if it does not."""
        host, origin = _header(scope, b"host").lower(), _header(scope, b"origin").lower()
        if host and "*" not in self.hosts and not self._is_known(host):
            return "the service is not known by this name (Host); its --allow-host names those that it is"
        own = origin.partition("://")[2] == host
        if origin and not own and "*" not in self.origins and origin not in map(str.lower, self.origins):
            return "web pages of this Origin may not use the service; its --allow-origin names those that may"
        return None

    def has_token(self, scope: Scope) -> bool:
        """Whether a request's headers hold the token."""
        if self.token is None:
            return True
        kind, _, credentials = _header(scope, b"authorization").partition(" ")
        return kind.lower() == "bearer" and self.is_token(credentials.strip().encode("latin-1"))

    def is_token(self, given: bytes) -> bool:
        """Whether it is the service's token; how long this takes says nothing about it."""
        return hmac.compare_digest(given, (self.token or "").encode())

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name == "localhost" or name in map(str.lower, self.hosts):
                return True
            ipaddress.ip_address(name)  # no name that could be made to lead elsewhere
        except ValueError:
            return False
        return True


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
