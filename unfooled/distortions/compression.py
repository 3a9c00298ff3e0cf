"""Video compression through the real encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unfooled.codecs import round_trip
from unfooled.distortions.base import Distortion


@dataclass(frozen=True)
class H264(Distortion):
    """Video compression by x264; a clip is one video, a frame a video of one frame. No gradient passes.

    Args:
        crf: constant rate factor, 0 (lossless but for the colour conversion) to 51.

    Source: DeeperForensics-1.0, video compression: ``ffmpeg -crf``. Deviation: only the video is compressed, and only
    once; the authors' pipeline decides codec and preset by the container and encodes audio anew.
    """

    crf: int | None = None
    name: ClassVar[str] = "h264"
    levels: ClassVar[tuple[float, ...]] = (30, 32, 35, 38, 40)
    parameter: ClassVar[str] = "crf"
    allowed: ClassVar[str] = "0 to 51, such as 23"
    differentiable: ClassVar[bool] = False

    def fits(self, value: float) -> bool:
        return 0 <= value <= 51

    def distort(self, x: Tensor) -> Tensor:
        return round_trip(x.detach(), "h264", quality=int(self.strength))
