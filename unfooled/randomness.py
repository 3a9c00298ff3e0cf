"""Randomness that belongs to a sample: the same draw in any batch, in any order, after any resume."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any printable parts; equal parts give equal seeds on every machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generators(x: Tensor, seed: int | None, purpose: str) -> list[torch.Generator]:
    """One generator for each row of ``x``, which depends on (seed, purpose, content of the row) alone.

    Args:
        x: (B, ...); the content of a row is its identity, so no sample number has to travel along.
        seed: None gives torch's global generator to every row.
        purpose: keeps the draws of two users of one seed apart.
    """
    if seed is None:
        return [torch.default_generator] * len(x)
    rows = x.detach().to("cpu", torch.float32).contiguous().numpy()
    return [
        torch.Generator().manual_seed(seed_of(seed, purpose, hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()))
        for row in rows
    ]


def uniform_like(x: Tensor, seed: int | None, purpose: str) -> Tensor:
    """Uniform noise in [-1, 1] of the shape of ``x``; row i depends on (seed, purpose, content of row i) alone.

    Args:
        x: (B, ...); the content of a row is its identity, so no sample number has to travel along.
        seed: None draws from torch's global generator instead (training: the loop seeds every step).
        purpose: keeps the draws of two users of one seed apart.
    """
    if seed is None:
        return torch.empty_like(x).uniform_(-1, 1)
    draws = [torch.empty(x.shape[1:]).uniform_(-1, 1, generator=g) for g in generators(x, seed, purpose)]
    return torch.stack(draws).to(x) if draws else torch.empty_like(x)


def normal_like(x: Tensor, seed: int | None, purpose: str) -> Tensor:
    """Standard normal noise of the shape of ``x``; otherwise as ``uniform_like``."""
    if seed is None:
        return torch.randn_like(x)
    draws = [torch.empty(x.shape[1:]).normal_(generator=g) for g in generators(x, seed, purpose)]
    return torch.stack(draws).to(x) if draws else torch.empty_like(x)
