"""A detector behind an HTTP address."""

from __future__ import annotations

import dataclasses
import http.client
import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from unfooled.errors import ConfigError
from unfooled.models.targets import Target, TargetError, pick, read_json, reason, start_of

LARGEST_ANSWER = 1_000_000
"""Bytes: a score is short, and what is longer is no answer to the question."""
IDLE = 2.0
"""Seconds after which a connection is opened anew: servers hang up on quiet ones."""


@dataclass
class Endpoint(Target):
    """POSTs the image as a multipart form and reads a JSON answer; redirects are never followed.

    Args:
        name: the address.
        field: of the answer, with dots into deeper ones and numbers into lists (``result.scores.0``).
        upload: name of the form's file field.
        headers: sent with each request, such as a key; never logged.
        timeout: seconds that an answer may take, > 0.
        retries: further attempts after no answer, a 429 or a 5xx.
        backoff: seconds before the first of them, doubled each time; a Retry-After is followed up to ``timeout``.
        authorized: hosts besides this machine that may be asked.
    """

    name: str
    field: str = "score"
    upload: str = "file"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    timeout: float = 10.0
    retries: int = 3
    backoff: float = 0.5
    authorized: Sequence[str] = ()
    _line: http.client.HTTPConnection | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._used = 0.0
        for text in (self.name, *self.headers, *self.headers.values()):
            if not text.isascii() or not text.isprintable():
                raise ConfigError(
                    f"target {self.name!r}: addresses and headers are plain ASCII; percent-encode the rest"
                )
        try:
            parts = urlsplit(self.name)
            self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        except ValueError as error:
            raise ConfigError(
                f"target {self.name!r} is no address: {error}; write http://127.0.0.1:8000/score"
            ) from None
        if not self._host:
            raise ConfigError(f"target {self.name!r} names no host; write http://127.0.0.1:8000/score")
        if parts.username is not None:
            raise ConfigError("a target must not hold a user or password, they would be logged; send a header")
        if not is_loopback(self._host) and self._host not in {h.lower() for h in self.authorized}:
            raise ConfigError(
                f"host {self._host!r} is not this machine; where its owner agreed to be attacked, "
                f"add --i-am-authorized {self._host}"
            )
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def ask(self, png: bytes) -> object:
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt
            try:
                status, headers, body = self._post(png)
            except TimeoutError:
                problem = f"did not answer within {self.timeout:g} s"
            except (OSError, http.client.HTTPException) as error:
                problem = f"does not answer ({reason(error)})"
            else:
                if 200 <= status < 300:
                    kind = headers.get("content-type", "text").partition(";")[0]
                    return pick(read_json(self.name, body, kind), self.field, self.name)
                problem = f"answered with HTTP status {status}"
                if 300 <= status < 400:
                    raise TargetError(
                        f"{self.name} redirects to {headers.get('location', 'nowhere')!r}, which is not followed; "
                        "name that address as the target"
                    )
                if status != 429 and status < 500:
                    raise TargetError(f"{self.name} {problem}: {start_of(body)}")
                if (later := headers.get("retry-after", "")).isdigit():
                    wait = min(float(later), self.timeout)
            self._close()
            if attempt < self.retries:
                time.sleep(wait)
        tries = f" ({self.retries + 1} attempts)" if self.retries else ""
        raise TargetError(f"{self.name} {problem}{tries}; is it running?")

    def _post(self, png: bytes) -> tuple[int, dict[str, str], bytes]:
        if time.monotonic() - self._used > IDLE:
            self._close()
        if self._line is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._line = kind(self._host, self._port, timeout=self.timeout)
        mark = "unfooled-" + "0" * 16
        while mark.encode() in png:
            mark += "0"
        name = self.upload.replace('"', "%22")
        opening = (
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="image.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        form = opening.encode() + png + f"\r\n--{mark}--\r\n".encode()
        kinds = {"Content-Type": f"multipart/form-data; boundary={mark}", "Accept": "application/json"}
        until = time.monotonic() + self.timeout
        self._line.request("POST", self._path, form, {**kinds, **self.headers})
        answer = self._line.getresponse()
        body = b""
        # Piece by piece: a target that drips must not outlast the timeout, one that floods must not fill the memory.
        while piece := answer.read1(65536):
            body += piece
            if time.monotonic() > until:
                raise TimeoutError
            if len(body) > LARGEST_ANSWER:
                self._close()
                raise TargetError(f"{self.name} answered with more than {LARGEST_ANSWER:,} bytes; that is no score")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        # Read to its end, it leaves the connection free for the next.
        answer.close()
        self._used = time.monotonic()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
