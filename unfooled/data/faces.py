"""Faces in a picture: where they are, how sure the detector is, and five landmarks where it gives them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from unfooled.data.fetch import model_path
from unfooled.data.images import Pixels
from unfooled.errors import ConfigError
from unfooled.registry import build, lookup, parse

Box = tuple[float, float, float, float]
Landmarks = NDArray[np.float64]
VARIABLE = "UNFOOLED_YUNET"
SMALLEST = 8
"""Pixels of the reduced picture's shorter side under which there is no face to see."""


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """One face in one picture.

    Args:
        box: (x0, y0, x1, y1) in pixels of the full picture, hairline to chin; may reach over its edge.
        score: in (0, 1), 1 = sure; comparable only within one detector.
        landmarks: (5, 2) pixels: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner;
            None from a detector that gives none.
    """

    box: Box
    score: float
    landmarks: Landmarks | None = None


class FaceDetector(Protocol):
    """Anything that finds the faces in (H, W, 3) RGB uint8 pixels, the surest first."""

    @property
    def name(self) -> str:
        """What results call it."""

    def __call__(self, pixels: Pixels) -> list[Face]:
        """Every face found, in pixels of the picture given."""


@dataclass(frozen=True)
class Haar:
    """OpenCV's frontal-face cascade, which needs no download: frontal faces only, no landmarks, false boxes.

    Args:
        longest: pixels; a larger picture is reduced to this longest side first, a smaller one stays as it is.
        neighbours: hits beside each other that make a face; more give fewer false boxes and miss more faces.
        smallest: side of the smallest face, as a share of the picture's longest side.

    Raises:
        ConfigError: an option is out of its range, or this OpenCV ships no cascade (version 5).

    Source: Viola and Jones 2001, by OpenCV's cascade ``haarcascade_frontalface_alt2``. Deviation: the cascade's
    square is made as narrow as a face and moved from brows-to-chin to hairline-to-chin, by shares measured against
    YuNet's boxes, so that both detectors mean the same by a box. The score is n / (n + 1) of n hits.
    """

    longest: int = 320
    neighbours: int = 5
    smallest: float = 0.05
    _held: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("haar", self.longest)
        if self.neighbours < 1 or not 0 < self.smallest <= 1:
            raise ConfigError(
                "haar: neighbours must be >= 1 and smallest in (0, 1], "
                f"got {self.neighbours} and {self.smallest}; leave them at 5 and 0.05"
            )
        _own(self._held, self._cascade)

    def __reduce__(self) -> tuple[type[Haar], tuple[int, int, float]]:
        return Haar, (self.longest, self.neighbours, self.smallest)

    @property
    def name(self) -> str:
        return "haar"

    @staticmethod
    def _cascade() -> Any:
        # The attribute is missing from OpenCV 5, the file from some builds of it by distributions.
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder, "haarcascade_frontalface_alt2.xml")
        if not folder or not path.is_file() or not hasattr(cv2, "CascadeClassifier"):
            raise ConfigError(
                f"OpenCV {cv2.__version__} ships no Haar cascade; install 'opencv-python-headless<5', or use yunet"
            )
        return cv2.CascadeClassifier(str(path))

    def __call__(self, pixels: Pixels) -> list[Face]:
        small, scale = _reduced(pixels, self.longest)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        side = max(1, round(self.smallest * max(grey.shape)))
        cascade = _own(self._held, self._cascade)
        boxes, hits = cascade.detectMultiScale2(
            grey, scaleFactor=1.1, minNeighbors=self.neighbours, minSize=(side, side)
        )
        found = []
        for (x, y, width, height), n in zip(boxes, hits, strict=True):
            left, top, right, bottom = _FACE_IN_SQUARE
            box = (x + left * width, y + top * height, x + right * width, y + bottom * height)
            found.append(Face(_grown(box, scale), float(n) / (float(n) + 1)))
        return sorted(found, key=_surest)


@dataclass(frozen=True)
class YuNet:
    """The small convolutional face detector YuNet, out of an ONNX file: any pose, five landmarks.

    Args:
        path: the .onnx file. None: the one named by the environment variable UNFOOLED_YUNET, else the one that
            ``unfooled data fetch-face-model`` fetched.
        longest: pixels; a larger picture is reduced to this longest side first, a smaller one stays as it is. Smaller
            is faster, and surer of faces that fill the picture; larger finds smaller faces (from about 10 pixels on).
        score: in (0, 1); a face below is not given. Lower finds blurred and turned faces, and more that are none.
        overlap: in (0, 1]; of two boxes with a larger IoU only the surer is given.

    Raises:
        ConfigError: an option is out of its range, no file is there, or the file is no YuNet network.

    Source: Wu, Peng and Yu 2023, doi:10.1007/s11633-023-1423-y, through cv2.FaceDetectorYN. Deviation: none.

    May be pickled, used after a fork and called from several threads: each gets a network of its own.
    """

    path: str | None = None
    longest: int = 320
    score: float = 0.5
    overlap: float = 0.3
    _held: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("yunet", self.longest)
        if not (0 < self.score < 1 and 0 < self.overlap <= 1):
            raise ConfigError(
                f"yunet: score must be in (0, 1) and overlap in (0, 1], got {self.score} and {self.overlap}; "
                "leave them at 0.5 and 0.3"
            )
        _own(self._held, self._network)

    def __reduce__(self) -> tuple[type[YuNet], tuple[str | None, int, float, float]]:
        return YuNet, (self.path, self.longest, self.score, self.overlap)

    @property
    def name(self) -> str:
        return "yunet"

    def _network(self) -> Any:
        path = _yunet_file(self.path)
        try:
            model = np.frombuffer(path.read_bytes(), np.uint8)
            with _quiet():
                network = cv2.FaceDetectorYN.create(
                    "onnx", model, np.empty(0, np.uint8), (64, 64), self.score, self.overlap
                )
                network.detect(np.zeros((64, 64, 3), np.uint8))
        except OSError as error:
            raise ConfigError(f"{path} can not be opened ({error.strerror}); {_HOW}") from None
        except (cv2.error, ValueError):
            # A network with other outputs is only found out by running it.
            raise ConfigError(f"{path} is no YuNet network, or damaged; {_HOW}") from None
        return network

    def __call__(self, pixels: Pixels) -> list[Face]:
        small, scale = _reduced(pixels, self.longest)
        network = _own(self._held, self._network)
        if min(small.shape[:2]) < SMALLEST:
            # OpenCV then reads memory that nobody wrote, and now and then finds a face in it.
            return []
        network.setInputSize(small.shape[1::-1])
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = []
        for row in np.asarray(rows if rows is not None else np.empty((0, 15)), np.float64):
            x, y, width, height = row[:4]
            # YuNet's order is the person's right eye first, which is the image-left one: the order of the house.
            landmarks = row[4:14].reshape(5, 2) * scale
            sane = np.isfinite(row).all() and 0 < width < 4 * self.longest and 0 < height < 4 * self.longest
            if sane:
                found.append(Face(_grown((x, y, x + width, y + height), scale), float(row[14]), landmarks))
        return sorted(found, key=_surest)


FACE_DETECTORS: dict[str, Callable[..., FaceDetector]] = {"haar": Haar, "yunet": YuNet}


def face_detector(name: str | Path) -> FaceDetector:
    """A face detector by name (``haar``, ``yunet``, ``yunet:longest=640``) or the path of a YuNet .onnx file.

    Raises:
        ConfigError: no such detector or option, or its model file is missing or damaged.
    """
    text = str(name)
    if text.endswith(".onnx"):
        return YuNet(text)
    chosen, options = parse(text)
    return build("face detector", chosen, lookup("face detector", FACE_DETECTORS, chosen), options)


def intersection_over_union(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, M) IoU in [0, 1] of N boxes with M boxes (x0, y0, x1, y1); 0 where they do not touch."""
    a, b = np.reshape(a, (-1, 1, 4)), np.reshape(b, (1, -1, 4))
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    both = sides.prod(-1)
    either = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(either, 1e-9), np.float64)


# Where a face (hairline to chin, cheek to cheek) lies in the cascade's square: medians over 210 photographs of frontal
# faces, against the boxes of YuNet.
_FACE_IN_SQUARE = (0.09, -0.06, 0.92, 1.10)
_HOW = f"run `unfooled data fetch-face-model`, name the .onnx file, or set {VARIABLE} to it; haar needs no file"


def _yunet_file(path: str | None) -> Path:
    named = path or os.environ.get(VARIABLE)
    file = Path(named) if named else model_path()
    if not file.is_file():
        raise ConfigError(f"no YuNet model at {file}; {_HOW}")
    return file


def _check(name: str, longest: int) -> None:
    if longest < 32:
        raise ConfigError(f"{name}: longest must be >= 32 pixels, got {longest}; leave it out for the default")


def _own(held: dict[tuple[int, int], Any], make: Any) -> Any:
    # OpenCV's detectors keep buffers and an input size: one for each process and thread.
    key = (os.getpid(), threading.get_ident())
    if key not in held:
        held[key] = make()
    return held[key]


def _reduced(pixels: Pixels, longest: int) -> tuple[Pixels, NDArray[np.float64]]:
    """The picture with at most ``longest`` pixels a side, and (x, y) factors back to its own pixels."""
    height, width = pixels.shape[:2]
    share = min(1.0, longest / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = pixels if share == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.array([width, height]) / size


def _grown(box: Any, scale: NDArray[np.float64]) -> Box:
    x0, y0, x1, y1 = (float(v) for v in np.asarray(box, np.float64) * np.tile(scale, 2))
    return x0, y0, x1, y1


def _surest(face: Face) -> tuple[float, Box]:
    return -face.score, face.box


@contextmanager
def _quiet() -> Iterator[None]:
    # OpenCV writes its own lines to stderr about a file that it can not read; ours says it better.
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
