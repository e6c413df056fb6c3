"""The service: landmarks over HTTP and WebSocket, and a page to look at them."""

from jvcr.serve.app import make_app
from jvcr.serve.limits import Limits

__all__ = ["Limits", "make_app"]
