"""A Detector that can only be called: every answer counted, written down, and never asked for twice."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from unfooled.codecs import encode_png, to_pixels
from unfooled.errors import ConfigError, DataError, UnfooledError
from unfooled.journal import Journal
from unfooled.models.answers import Output, plain, to_logit, to_threshold
from unfooled.models.detector import Detector
from unfooled.models.endpoint import Endpoint
from unfooled.models.targets import Command, Function, Target

BLIND = (
    "this detector can only be called, it has no features and no gradients; use a black-box attack, or "
    "transfer:surrogate=RUN from a detector of your own"
)
FORMS = "http://127.0.0.1:8000/score, 'mydetector {file}' or module:function"


class BudgetSpent(UnfooledError):
    """No query is left; what was found so far stands in the log."""


class BlackBox(Detector):
    """A detector that gives logits (B,) and nothing else; ``remote`` makes it.

    ``x`` is rounded to 8 bits before it is sent, for the target gets an image and not a tensor: a change below half a
    grey level is not seen. Frames only; a clip is refused.
    """

    backbone: Asked

    def __init__(self, asked: Asked, threshold: float = 0.0) -> None:
        known = {"target": asked.target.name, "output": asked.output, "threshold": threshold}
        super().__init__(asked, nn.Identity(), spec={"name": "remote", **known})
        self.threshold.fill_(threshold)

    @property
    def asked(self) -> int:
        """Queries that the target has answered, with those that the log already held."""
        return self.backbone.asked

    def features(self, x: Tensor) -> Tensor:
        """Refused.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(BLIND)

    def forward(self, x: Tensor) -> Tensor:
        """(B,) logits of ``x``.

        Raises:
            ConfigError: a gradient is asked for, or ``x`` is a clip.
            TargetError: the target does not answer, or not with a score.
            BudgetSpent: no query is left.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise ConfigError(BLIND)
        return self.classify(self.backbone(x))


class Asked(nn.Module):
    """(B, 3, H, W) in [0, 1] -> (B, 1) logits, each image sent as PNG at most once.

    Args:
        target: answers one image.
        output: what its answer means.
        budget: queries that it may be asked, with those of the log; None means any number.
        rate: queries a second at most; None means as fast as it answers.
        log: JSONL, one line for each query; what stands there is not asked again. None keeps answers in memory.
    """

    def __init__(
        self, target: Target, output: Output, budget: int | None, rate: float | None, log: Path | None
    ) -> None:
        super().__init__()
        self.target = target
        self.output = output
        self.budget = budget
        self.pause = 0.0 if rate is None else 1 / rate
        self.log = None if log is None else Journal(log)
        self.known = self._remembered()
        self.asked = len(self.known)
        self._free = 0.0

    @contextmanager
    def logged(self, path: Path) -> Iterator[None]:
        """Queries are written to ``path`` inside, and what stands there is known, unless there is a log already.

        Raises:
            ConfigError: the file belongs to another target.
        """
        if self.log is not None:
            yield
            return
        self.log = Journal(path)
        try:
            there = self._remembered()
            self.asked += len(there.keys() - self.known.keys())
            self.known |= there
            yield
        finally:
            self.log = None

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ConfigError(f"a target takes single images (B, 3, H, W), got {tuple(x.shape)}; attack frames instead")
        # The fastest of the compressions: the pixels are what counts.
        logits = [self._logit(encode_png(to_pixels(image), effort=1)) for image in x]
        return torch.tensor(logits, dtype=torch.float64).to(x).unsqueeze(1)

    def _logit(self, png: bytes) -> float:
        key = hashlib.sha256(png).hexdigest()
        if key not in self.known:
            if self.budget is not None and self.asked >= self.budget:
                raise BudgetSpent(f"the budget of {self.budget} queries is spent; go on with a larger one")
            time.sleep(max(0.0, self._free - time.monotonic()))
            self._free = time.monotonic() + self.pause
            started = time.perf_counter()
            answer = plain(self.target.ask(png))
            seconds = time.perf_counter() - started
            logit = to_logit(answer, self.output, self.target.name)
            if self.log is not None:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                row = {"sha256": key, "answer": answer, "seconds": round(seconds, 4), "time": when}
                self.log.add({**row, "target": self.target.name, "field": self.target.field})
            self.known[key] = logit
            self.asked += 1
        return self.known[key]

    def _remembered(self) -> dict[str, float]:
        known: dict[str, float] = {}
        for number, row in enumerate(self.log.rows if self.log else (), 1):
            place = f"{self.log.path if self.log else ''} line {number}"
            if not {"sha256", "answer", "target", "field"} <= row.keys():
                raise DataError(f"{place} is no query of unfooled; name another file for the log")
            if (row["target"], row["field"]) != (self.target.name, self.target.field):
                raise ConfigError(
                    f"{place} asked {row['target']!r} for {row['field']!r}, not {self.target.name!r} for "
                    f"{self.target.field!r}; name another file for the log"
                )
            known[row["sha256"]] = to_logit(row["answer"], self.output, place)
        return known


def remote(
    target: str | Callable[..., object],
    *,
    output: Output = "p_fake",
    field: str | None = None,
    threshold: float | None = None,
    budget: int | None = None,
    rate: float | None = None,
    log: Path | str | None = None,
    timeout: float = 10.0,
    retries: int = 3,
    backoff: float = 0.5,
    upload: str = "file",
    headers: Mapping[str, str] | None = None,
    authorized: Sequence[str] = (),
) -> BlackBox:
    """A detector that one can only call, as a Detector for black-box attacks.

    An answer is remembered by the image that was sent: a target that answers by chance is heard once for each image.

    Args:
        target: ``http://127.0.0.1:8000/score`` gets the image as PNG in a form and answers JSON;
            ``"mydetector {file}"`` is run on a PNG and prints a score last; ``module:function``, or a function, gets
            (H, W, 3) uint8 RGB pixels and returns a score.
        output: what the answer is: ``p_fake`` or ``p_real`` in [0, 1]; ``logit``, above 0 is fake; ``label``
            (fake or real, 1 or 0, true or false), which becomes a logit of +1 or -1, so that an attack learns nothing
            until the verdict flips.
        field: where the answer stands in JSON, ``result.scores.0``; None: ``score`` of an HTTP answer, the last
            number of a command's output, all that a function returns.
        threshold: of the target itself: P(fake), or the logit with ``output="logit"``, above which it says fake.
            None: 0.5, or a logit of 0.
        budget: queries that may be asked in all, those in ``log`` included, >= 1; None means any number.
        rate: queries a second at most, > 0; None means as fast as they are answered.
        log: JSONL file, one line for each query (sha256 of the bytes sent, answer, seconds, time). What stands there
            is not asked again, so that a search that was killed goes on where it was.
        timeout: seconds for one answer, > 0.
        retries: further attempts of an HTTP query that got no answer, 429 or 5xx; they do not count as queries.
        backoff: seconds before the first retry, doubled each time.
        upload: name of the file field in the HTTP form.
        headers: of each HTTP request, such as a key.
        authorized: hosts other than this machine whose owners agreed to be attacked.

    Raises:
        ConfigError: an option is out of range, the host is not authorized, there is no such program or function, or
            the log belongs to another target.
    """
    if output not in get_args(Output):
        raise ConfigError(f"output must be one of {', '.join(get_args(Output))}, got {output!r}")
    if budget is not None and budget < 1:
        raise ConfigError(f"budget must be at least 1 query, got {budget}")
    for name, value in (("rate", rate), ("timeout", timeout)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} must be > 0, got {value:g}")
    if retries < 0 or backoff < 0:
        raise ConfigError(f"retries and backoff must be >= 0, got {retries} and {backoff:g}")
    if not isinstance(target, str):
        name = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', type(target).__qualname__)}"
        place: Target = Function(name, field, target)
    elif re.match(r"https?://", target):
        options: dict[str, Any] = {"timeout": timeout, "retries": retries, "backoff": backoff}
        options |= {"upload": upload, "headers": headers or {}, "authorized": authorized}
        place = Endpoint(target, "score" if field is None else field, **options)
    elif "{file}" in target:
        place = Command(target, field, timeout)
    elif re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", target):
        place = Function(target, field)
    else:
        raise ConfigError(f"target must be {FORMS}, got {target!r}")
    if headers and not isinstance(place, Endpoint):
        raise ConfigError("headers belong to an HTTP target; leave them out")
    asked = Asked(place, output, budget, rate, None if log is None else Path(log))
    return BlackBox(asked, to_threshold(threshold, output)).eval()
