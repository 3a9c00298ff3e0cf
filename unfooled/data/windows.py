"""Which files a sample is made of: one image, or some consecutive frames of a clip or track."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unfooled.data.clips import FRAMES
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError, DataError

Numbers = npt.NDArray[np.int64]


class Windows:
    """The files of some rows of a manifest, each once, and which of them make up a sample.

    Args:
        manifest: of images, or of clips or tracks (with the column ``frames``).
        rows: the row numbers of the samples.
        length: frames of a sample; None: one image, or as many frames as every row has.

    Raises:
        ConfigError: ``length`` without the column ``frames``, below 1, or None for tracks of several lengths.
        DataError: a row has fewer frames than ``length``.
    """

    def __init__(self, manifest: Manifest, rows: Numbers, length: int | None = None) -> None:
        if FRAMES not in manifest.table.column_names:
            if length is not None:
                raise ConfigError(f"a clip of {length} frames needs rows of clips; make them with data.clips.clips")
            self.length: int | None = None
            # Arrow columns, not lists: they stay small and are shared with forked workers.
            self.files: Any = manifest.table["path"].take(pa.array(rows))
            self._numbers = np.arange(len(rows), dtype=np.int64)
            self._ends = np.arange(len(rows) + 1, dtype=np.int64)
            return
        lists = manifest.table[FRAMES].take(pa.array(rows)).combine_chunks()
        lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
        words = lists.flatten().dictionary_encode()
        sizes = lists.value_lengths().to_numpy(zero_copy_only=False)
        self.files = words.dictionary
        self._numbers = words.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        self._ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if length is None and len(np.unique(sizes)) > 1:
            raise ConfigError(f"the rows have {sizes.min()} to {sizes.max()} frames; name the clip (length=25)")
        self.length = int(sizes[0]) if length is None else length
        if self.length < 1:
            raise ConfigError(f"length must be >= 1 frame, got {self.length}; write 25")
        if sizes.min() < self.length:
            raise DataError(f"a row has {sizes.min()} frames, a clip of {self.length} needs as many; make clips anew")

    def __call__(self, position: int, rng: np.random.Generator | None) -> Numbers:
        """Numbers in ``files`` of a sample's frames: a random stretch of its row, the middle one without ``rng``."""
        start, end = self._ends[position], self._ends[position + 1]
        spare = 0 if self.length is None else int(end - start) - self.length
        start += spare // 2 if rng is None else int(rng.integers(spare + 1))
        return self._numbers[start : end if self.length is None else start + self.length]

    def digest(self) -> str:
        """SHA-256 of the names of the files and who is made of which."""
        found = hashlib.sha256("\n".join(self.files.to_pylist()).encode())
        for part in (self._numbers, self._ends, np.array([self.length or 0], np.int64)):
            found.update(part.tobytes())
        return found.hexdigest()
