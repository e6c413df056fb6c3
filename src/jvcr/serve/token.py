"""Who may ask: whoever sends the service's token, if it has one."""

from __future__ import annotations

import hmac

from starlette.types import Scope


def allowed(scope: Scope, token: str | None) -> bool:
    """Whether a request's headers hold the token."""
    if token is None:
        return True
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    kind, _, credentials = given.partition(b" ")
    return kind.lower() == b"bearer" and matches(credentials.strip(), token)


def matches(given: bytes, token: str) -> bool:
    """Whether it is the service's token; how long this takes says nothing about it."""
    return hmac.compare_digest(given, token.encode())
