"""What every request passes first and every answer carries: who may ask, and what a browser may do with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unfooled.service.settings import is_loopback

LOOPBACK = ("localhost", "127.0.0.1", "::1")

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Nothing from outside; blob: is the file that the visitor chose, shown from memory without a way over the network."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Refuses requests under a foreign name or from a foreign page, and adds the headers above to every answer.

    A page of another site can point its own name at 127.0.0.1 (DNS rebinding) or post a form here without being asked;
    the Host header betrays the first, the Origin header the second.

    Args:
        app: what answers.
        hosts: names that the service answers to; empty: any, for a service that other machines reach.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # A verdict is for the one who asked; no cache on the way keeps it.
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/v1/") else "no-cache")
            await send(message)

        if refusal := self._refusal(Headers(scope=scope)):
            status, text = refusal
            await JSONResponse({"error": text}, status)(scope, receive, sent)
        else:
            await self.app(scope, receive, sent)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.hosts and _name(host) not in self.hosts:
            return 400, f"this service does not answer to the name {_name(host)[:80]!r}; allow it with --allow-host"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "another site's page may not use this service"
        return None


def hosts_for(host: str, more: Iterable[str]) -> list[str]:
    """Names that a service bound to ``host`` answers to: this machine's on loopback, else only those listed."""
    return [*LOOPBACK, host.strip("[]"), *more] if is_loopback(host) else list(more)


def _name(host: str) -> str:
    """The name without its port; an IPv6 address without brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
