"""What one can only call: one image in, one answer out; a command line and a Python function."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfooled.codecs import decode
from unfooled.errors import ConfigError, UnfooledError

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\bnan\b|[-+]?\binf(?:inity)?\b", re.IGNORECASE)


class TargetError(UnfooledError):
    """A detector that one can only call does not answer, or not with a score."""


class Target(ABC):
    """One image in, one raw answer out."""

    name: str
    field: str | None

    @abstractmethod
    def ask(self, png: bytes) -> object:
        """The answer to an image: a number, a word, or whatever stands in the field.

        Raises:
            TargetError: it does not answer, or not in its form.
        """


@dataclass
class Command(Target):
    """Runs a program on a temporary PNG and reads what it prints; no shell is involved.

    Args:
        name: the command line; ``{file}`` stands for the path of the image.
        field: None takes the last number (or word, for labels) that it prints; a name picks from a JSON answer.
        timeout: seconds that it may run, > 0.
    """

    name: str
    field: str | None = None
    timeout: float = 10.0

    def __post_init__(self) -> None:
        try:
            self._words = shlex.split(self.name)
        except ValueError as error:
            raise ConfigError(f"target {self.name!r} is no command line: {str(error).lower()}") from None
        if shutil.which(self._words[0]) is None:
            raise ConfigError(f"target {self.name!r}: there is no program {self._words[0]!r} here")

    def ask(self, png: bytes) -> object:
        with tempfile.TemporaryDirectory(prefix="unfooled-") as folder:
            image = Path(folder) / "image.png"
            image.write_bytes(png)
            call = [word.replace("{file}", str(image)) for word in self._words]
            try:
                done = subprocess.run(call, capture_output=True, timeout=self.timeout, check=False)
            except subprocess.TimeoutExpired:
                raise TargetError(f"{self.name!r} did not answer within {self.timeout:g} s") from None
            except OSError as error:
                raise TargetError(f"{self.name!r} does not run ({reason(error)})") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise TargetError(f"{self.name!r} ended with status {done.returncode}: {said[-1][:200] if said else ''}")
        if self.field is not None:
            return pick(read_json(self.name, done.stdout), self.field, self.name)
        text = done.stdout.decode(errors="replace")
        words = NUMBER.findall(text) or text.split()
        if not words:
            raise TargetError(f"{self.name!r} printed nothing; it must print a score")
        return words[-1]


@dataclass
class Function(Target):
    """Calls a Python function with the pixels, (H, W, 3) uint8 RGB.

    Args:
        name: ``module:function``, importable from here or from the current folder; or what to call it in messages.
        field: None takes what it returns; a name picks from a returned dict or list.
        call: the function itself, in place of an import.
    """

    name: str
    field: str | None = None
    call: Callable[..., object] | None = None

    def __post_init__(self) -> None:
        self.call = self.call or _import(self.name)

    def ask(self, png: bytes) -> object:
        assert self.call is not None
        try:
            answer = self.call(decode(png))
        except Exception as error:
            raise TargetError(f"{self.name} raised {reason(error)}") from error
        return answer if self.field is None else pick(answer, self.field, self.name)


def pick(answer: Any, path: str, name: str) -> object:
    """What stands at ``path`` (dots into dicts, numbers into lists; empty: the whole) of an answer of target ``name``.

    Raises:
        TargetError: nothing stands there; the text names what does.
    """
    for key in filter(None, path.split(".")):
        if isinstance(answer, Mapping) and key in answer:
            answer = answer[key]
        elif isinstance(answer, (list, tuple)) and key.lstrip("-").isdigit() and -len(answer) <= int(key) < len(answer):
            answer = answer[int(key)]
        else:
            there = ", ".join(map(str, answer)) if isinstance(answer, Mapping) else f"a {type(answer).__name__}"
            raise TargetError(
                f"{name} has no field {path!r} in its answer; {key!r} is not in: {there[:200] or 'nothing'}"
            )
    return answer


def read_json(name: str, body: bytes, kind: str = "text") -> object:
    """An answer of target ``name`` as an object; ``kind`` is what it calls itself.

    Raises:
        TargetError: it is no JSON.
    """
    try:
        answer: object = json.loads(body)
        return answer
    except ValueError:
        raise TargetError(f"{name} answered with {kind} instead of JSON: {start_of(body)}") from None


def _import(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    # The console script does not look into the current folder, where a user's module lies.
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"target {name!r}: {error}; run where {module.partition('.')[0]}.py lies") from None
    except AttributeError:
        raise ConfigError(f"target {name!r}: module {module} has no {attribute!r}") from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise ConfigError(f"target {name!r} is no function but a {type(found).__name__}")
    function: Callable[..., object] = found
    return function


def start_of(body: bytes) -> str:
    """The first words of an answer, for a message."""
    return repr(" ".join(body[:80].decode(errors="replace").split()))


def reason(error: Exception) -> str:
    """An error in a few words, for a message."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
