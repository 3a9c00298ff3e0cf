"""Listening on an address until somebody stops it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

import uvicorn

from unfooled.errors import ConfigError
from unfooled.service.app import create_app
from unfooled.service.settings import Settings, is_loopback

GRACE = 5
"""Seconds that open connections get to end when the service stops."""


def serve(settings: Settings, say: Callable[[str], None] = print, warn: Callable[[str], None] = print) -> None:
    """Serve until Ctrl-C or SIGTERM; what is queued then stays queued.

    Args:
        settings: of the service.
        say: told the address when it can be asked.
        warn: told what the keeper should know.

    Raises:
        ConfigError: the address is taken or not of this machine, or as ``create_app``.
    """
    # Bound before the detector is loaded: a second start is refused at once.
    bound = bind(settings.host, settings.port)
    try:
        app = create_app(settings)
        # No access log: it would write the ids down, and they are the only key to a result.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="on", ws="none",
            timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        if not is_loopback(settings.host):
            warn(f"{settings.host} lets other machines in, without a password or TLS; put a proxy with both before it")
            if not settings.allow_hosts:
                warn("any Host name is answered; name the right ones with --allow-host")
        # What a visitor's form does wrong is told to the visitor.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"http://{host}:{bound.getsockname()[1]} is ready, Ctrl-C stops it")
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        bound.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the address.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not of this machine.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        # A restart may follow at once; two listeners at a time are still refused.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} is in use; stop what listens there, or choose another --port") from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {port} is not allowed to you; choose one of 1024 to 65535") from None
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"host {host} is no address of this machine ({reason}); choose another --host") from None
    return bound
