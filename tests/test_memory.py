"""Freed memory stays with the process, and numbers are the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import resource, sys
    from unfooled.memory import keep_memory
    kept = keep_memory() if sys.argv[1] == "kept" else False
    import torch
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(3, 8, 3), torch.rand(8, 3, 256, 256)
    total = conv(x).square().mean()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        total = conv(x).square().mean()
    print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, float(total))
"""


def told(how: str) -> tuple[str, int, float]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), how], capture_output=True, text=True, check=True
    )
    kept, faults, total = done.stdout.split()
    return kept, int(faults), float(total)


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library can be told")
def test_no_page_is_asked_for_twice_and_the_numbers_are_the_same() -> None:
    plain, kept = told("plain"), told("kept")
    assert (plain[0], kept[0]) == ("False", "True")
    assert kept[1] < 0.9 * plain[1]  # a tenth and less, where no other process takes memory back
    assert kept[2] == plain[2]
