"""Weights that are not ours to ship: fetched only when the user says so, checked, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from unfooled.errors import ConfigError, DataError
from unfooled.files import check_target, replacing

FACE_MODEL = (
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
)
"""Where YuNet is published: the model collection of OpenCV."""

FACE_MODELS = {
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "YuNet, OpenCV zoo, 2023mar",
    "81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2": "YuNet, libfacedetection.train, n 320x320",
}
"""SHA-256 of the files that are accepted. The first is what the zoo's git-lfs entry states, the second was computed."""

_LARGEST = 8 << 20


def model_path() -> Path:
    """Where the fetched face model lies if nothing else is said: the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "unfooled" / "yunet.onnx"


def fetch_face_model(target: Path, source: str = FACE_MODEL) -> str:
    """Fetch YuNet from ``source`` into ``target``; gives what it is called. Nothing is fetched where it is already.

    Args:
        target: the file to write; missing folders are made.
        source: an http, https or file address.

    Raises:
        ConfigError: the target can not be written, or the address is of another kind.
        DataError: the address does not answer, or what it gave is none of ``FACE_MODELS``; ``target`` is unchanged.
    """
    check_target(target)
    if target.is_file() and (known := FACE_MODELS.get(_digest(target.read_bytes()))):
        return known
    if urlsplit(source).scheme not in ("http", "https", "file"):
        raise ConfigError(f"the address must start with https://, http:// or file://, got {source!r}")
    try:
        with urlopen(source, timeout=60) as answer:
            data = answer.read(_LARGEST + 1)
    except (URLError, HTTPException, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DataError(
            f"{source} could not be fetched ({why}); fetch it by other means and name the file by UNFOOLED_YUNET"
        ) from None
    digest = _digest(data)
    if digest not in FACE_MODELS:
        size = f"{len(data)} bytes" if len(data) <= _LARGEST else f"more than {_LARGEST >> 20} MB"
        raise DataError(
            f"{source} gave another file ({size}, SHA-256 {digest[:12]}..., expected "
            f"{' or '.join(f'{d[:12]}...' for d in FACE_MODELS)}); nothing was written; try again or fetch it by hand"
        )
    with replacing(target) as temporary:
        temporary.write_bytes(data)
    return FACE_MODELS[digest]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
