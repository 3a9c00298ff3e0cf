"""Every mistake of a user: one clear line with the fix, exit status 2, no traceback, nothing lost."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unfooled import checkpoints, models
from unfooled.cli import main

OTHER = "evaluate other.safetensors --data set/manifest.parquet --size 32"
RECIPE = '[data]\nmanifest = "set/manifest.parquet"\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, album: Callable[..., Path], run: Callable[..., int]) -> Path:
    """A folder with one of everything, sound and broken."""
    home = tmp_path_factory.mktemp("home")
    album(home / "photos", {"london": 12})
    forged = ("--size", 32, "--manipulation", "FaceSwap")
    assert run("data", "forge", home / "photos", "--out", home / "set", *forged) == 0
    assert run("data", "index", "ffpp", home / "set", "--out", home / "set/manifest.parquet") == 0
    (home / "good.toml").write_text(f"epochs = 1\n{RECIPE}")
    (home / "typo.toml").write_text(f"epochs = 1\nepoch = 2\n{RECIPE}")
    (home / "option.toml").write_text(f'epochs = 1\n{RECIPE}[objective]\nname = "afsl"\nbeta_1 = 1\n')
    (home / "eps.toml").write_text(f'epochs = 1\n{RECIPE}[objective]\nname = "afsl"\neps = 8\n')
    (home / "broken.toml").write_text("epochs = = 1")
    (home / "empty.toml").write_text("")
    (home / "empty.parquet").write_bytes(b"")
    (home / "empty.json").write_text("")
    (home / "future.json").write_text('{"schema_version": 99}')
    (home / "text.parquet").write_text("no table")
    (home / "nothing").mkdir()
    (home / "full").mkdir()
    (home / "full/mine.txt").write_text("keep me")
    (home / "taken").mkdir()
    (home / "taken/metrics.jsonl").write_text("{}")
    with (home / "weights.pt").open("wb") as file:
        pickle.dump(subprocess.run, file)
    torch.manual_seed(0)
    other = models.create("resnet", width=4)
    checkpoints.save(other, home / "other.safetensors")
    (home / "faceless").mkdir()
    (home / "faceless/faces.csv").write_text("file,identity,landmarks\n")
    return home


CASES = {
    "missing source": ("data forge gone --out x", "gone"),
    "folder without faces": ("data forge nothing --out x", "faces.csv"),
    "empty table": ("data forge faceless --out x", "faces.csv"),
    "unknown manipulation": ("data forge photos --out x --manipulation FaceSwop", "did you mean 'FaceSwap'?"),
    "out not empty": ("data forge photos --out full", "--force"),
    "people of photographs": ("data forge photos --out x --people 20", "people"),
    "too few drawn people": ("data forge portraits --out x --people 5", ">= 9"),
    "a clip of nothing": ("data forge portraits --out x --frames 0", "frames must be >= 1"),
    "flicker without clips": ("data forge photos --out x --flicker 0.1", "--frames"),
    "flicker out of range": ("data forge portraits --out x --flicker 2", "[0, 1]"),
    "a source that is no word": ("data forge portrait --out x", "portraits"),
    "drawn people into a full folder": ("data forge portraits --out full", "--force"),
    "unknown layout": ("data index ffp set --out m.parquet", "did you mean 'ffpp'?"),
    "no such layout": ("data index ffpp nothing --out m.parquet", "nothing"),
    "empty folder": ("data index folder nothing --out m.parquet", "nothing"),
    "missing manifest": ("data check gone.parquet", "gone.parquet"),
    "empty manifest": ("data check empty.parquet", "empty.parquet"),
    "text as manifest": ("data check text.parquet", "text.parquet"),
    "missing recipe": ("train gone.toml --out x", "gone.toml"),
    "empty recipe": ("train empty.toml --out x", "epochs"),
    "no TOML": ("train broken.toml --out x", "broken.toml"),
    "unknown key": ("train typo.toml --out x", "did you mean 'epochs'?"),
    "unknown option": ("train option.toml --out x", "did you mean 'beta1'?"),
    "eps of 8": ("train eps.toml --out x", "8/255"),
    "override without value": ("train good.toml --out x --set epochs", "--set"),
    "override of nothing": ("train good.toml --out x --set objective.bta1=3", "bta1"),
    "run folder of another": ("train good.toml --out taken", "--resume"),
    "resume of nothing": ("train good.toml --out x --resume", "no run to resume"),
    "views below a batch": ("train good.toml --out x --set data.views=1", "data.views"),
    "share of fakes": ("train good.toml --out x --set data.fake_share=2", "data.fake_share"),
    "range of an option": ("evaluate other.safetensors --limit 1", "--limit"),
    "out is a folder": (f"{OTHER} --out full", "full is a folder"),
    "out below a file": (f"{OTHER} --out good.toml/e.json", "good.toml"),
    "no such device": ("train good.toml --out x --device cuda:99", "cuda:99"),
    "nothing to evaluate": ("evaluate", "--scores"),
    "missing run": ("evaluate gone", "gone"),
    "empty run": ("evaluate nothing", "nothing"),
    "pickled checkpoint": ("evaluate weights.pt --data set/manifest.parquet --size 32", "pickle"),
    "checkpoint without a recipe": ("evaluate other.safetensors", "--data"),
    "unknown attack": (f"{OTHER} --attack pgdd", "did you mean 'pgd'?"),
    "attack eps of 8": (f"{OTHER} --attack pgd:eps=8", "8/255"),
    "unknown attack option": (
        f"{OTHER} --attack pgd:step=3",
        "did you mean 'steps'?",
    ),
    "unknown distortion": (f"{OTHER} --distortion blurr", "did you mean 'blur'?"),
    "distortion level of 6": (f"{OTHER} --distortion blur:level=6", "level must be 1 (weakest) to 5"),
    "unknown distortion option": (f"{OTHER} --distortion noise:sed=6", "did you mean 'seed'?"),
    "all distortions of one level": (f"{OTHER} --distortion all:level=2", "takes no options"),
    "distortion of given images": (f"{OTHER} --distortion blur --adversarial set", "--distortion"),
    "scores and a distortion": (
        "evaluate --scores a.csv --data set/manifest.parquet --distortion blur",
        "--distortion",
    ),
    "no such split": (f"{OTHER} --split tset", "test"),
    "scores without data": ("evaluate --scores a.csv", "--data"),
    "scores and an attack": ("evaluate --scores a.csv --data set/manifest.parquet --attack pgd", "--attack"),
    "missing scores": ("evaluate --scores gone.csv --data set/manifest.parquet", "gone.csv"),
    "missing evaluation": ("report gone.json", "gone.json"),
    "empty evaluation": ("report empty.json", "empty.json"),
    "newer evaluation": ("report future.json", "99"),
    "unknown command": ("trian good.toml", "train"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line(
    case: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    command, word = CASES[case]
    before = {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit) as end:
        main(command.split())
    shown = capsys.readouterr()
    assert end.value.code == 2
    assert word in shown.err
    assert "Traceback" not in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("error: ")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not (home / "x").exists(), "a command that was refused left its output folder"


def test_a_checkpoint_that_does_not_fit_lists_what_is_missing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = home / "init.toml"
    recipe.write_text(
        f'epochs = 1\ninit = "{home}/other.safetensors"\n[data]\nmanifest = "{home}/set/manifest.parquet"\n'
        '[detector]\nname = "resnet"\nblocks = 2\nwidth = 4\n'
    )
    with pytest.raises(SystemExit) as end:
        main(["train", str(recipe), "--out", str(home / "y")])
    assert end.value.code == 2
    assert "missing" in capsys.readouterr().err


def test_ctrl_c_is_one_line(home: Path) -> None:
    (home / "long.toml").write_text(
        'epochs = 500\n[data]\nmanifest = "set/manifest.parquet"\n[training]\nworkers = 0\n'
    )
    # A test runner in the background has its children ignore the signal.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from unfooled.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "train", "long.toml", "--out", "long"]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (home / "long/log.txt").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130
    assert shown.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in shown


def test_debug_shows_the_traceback(home: Path) -> None:
    with pytest.raises(Exception, match="gone"):
        main(["data", "check", str(home / "gone.parquet"), "--debug"])


def test_a_full_disk_is_one_line_and_keeps_what_was_there(home: Path) -> None:
    # /dev/full answers every write with "no space left on device".
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code = (
        "import os, sys\n"
        "from unfooled.cli import main\n"
        "os.symlink('/dev/full', f'.kept.json.{os.getpid()}.part')\n"
        "main(sys.argv[1:])\n"
    )
    out = home / "kept.json"
    out.write_text("before")
    arguments = ["evaluate", "other.safetensors", "--data", "set/manifest.parquet", "--size", "32", "--out", str(out)]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=home, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "space" in found.stderr.lower()
    assert "Traceback" not in found.stderr
    assert out.read_text() == "before"
    assert [p.name for p in home.iterdir() if p.name.startswith(".kept")] == []
