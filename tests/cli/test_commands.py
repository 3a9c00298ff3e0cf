"""The commands as a user types them, from photographs to a report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import unfooled
from unfooled.attacks import PGD
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.results import Evaluation

RECIPE = """
epochs = 2
[data]
manifest = "{manifest}"
size = 32
[detector]
name = "resnet"
width = 4
[objective]
name = "afsl"
eps = "2/255"
steps = 2
[training]
batch_size = 8
workers = 0
device = "cpu"
clean_epochs = 1
[evaluation]
attack = "pgd:eps=2/255,steps=2"
"""
Run = Callable[..., int]
BARE = [sys.executable, "-c", "from unfooled.cli import main; main()"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, album: Callable[..., Path], run: Run) -> Path:
    """A folder with photographs, a forged set, its manifest, a recipe and a trained run."""
    home = tmp_path_factory.mktemp("home")
    album(home / "photos", {"london": 14, "gpo": 10})
    assert run("data", "forge", home / "photos", "--out", home / "set", "--size", 48) == 0
    assert run("data", "index", "ffpp", home / "set", "--out", home / "set/manifest.parquet") == 0
    (home / "recipe.toml").write_text(RECIPE.format(manifest=home / "set/manifest.parquet"))
    assert run("train", home / "recipe.toml", "--out", home / "run") == 0
    return home


def test_forging_and_indexing_give_a_manifest_of_every_manipulation(home: Path, run: Run) -> None:
    manifest = Manifest.read(home / "set/manifest.parquet")
    assert set(manifest.column("manipulation")) == {
        "Real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "SelfBlended",
    }  # fmt: skip
    assert len(manifest.select(manipulation="Real")) == 24
    assert len(manifest) >= 24 * 6
    assert run("data", "check", home / "set/manifest.parquet") == 0


def test_drawn_people_become_clips_under_their_own_name(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--people", 9, "--frames", 2, "--size", 32, "--manipulation", "FaceSwap", "--flicker", 0.3)
    assert run("data", "forge", "portraits", "--out", home / "drawn", *options) == 0
    assert "18 real and 20 fake frames of 32 px in clips of 2" in " ".join(capsys.readouterr().out.split())
    assert run("data", "index", "ffpp", home / "drawn", "--out", home / "drawn.parquet") == 0
    manifest = Manifest.read(home / "drawn.parquet")
    assert set(manifest.column("dataset")) == {"portraits"}
    assert len(set(manifest.select(manipulation="Real").column("identity"))) == 9
    assert manifest.check() == []


def test_a_folder_called_portraits_is_named_with_a_dot(
    home: Path,
    run: Run,
    album: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "here").mkdir()
    album(home / "here/portraits", {"one": 9})
    monkeypatch.chdir(home / "here")
    options = ("--size", 32, "--manipulation", "SelfBlended")
    assert run("data", "forge", "portraits", "--out", "set", *options) == 2
    assert "./portraits" in capsys.readouterr().err
    assert run("data", "forge", "./portraits", "--out", "set", *options) == 0
    assert json.loads(Path("set/forge.json").read_text())["source"] == "portraits"


def test_a_run_folder_holds_what_a_user_expects(home: Path, run: Run) -> None:
    names = {p.name for p in (home / "run").iterdir()}
    assert {"recipe.toml", "best.safetensors", "last.safetensors", "metrics.jsonl", "log.txt", "model_card.md"} <= names
    history = [json.loads(line) for line in (home / "run/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2]


def test_evaluate_and_report(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "eval.json"
    status = run(
        "evaluate", home / "run", "--attack", "pgd", "--over-eps", "1/255,2/255,8/255", "--no-checks", "--out", out
    )
    assert status == 0
    found = Evaluation.read(out)
    # --attack pgd takes the recipe's eps; the radius that it shares with --over-eps is run once.
    eps = sorted(round(c.eps * 255, 6) for c in found.conditions if c.eps is not None)
    assert eps == [1, 2, 8]
    assert found.training is not None
    assert len(found.training) == 2
    assert run("report", out, "--out", home / "report.html") == 0
    page = (home / "report.html").read_text()
    assert page.startswith("<!")
    assert "pgd" in page
    assert "1 evaluation ->" in capsys.readouterr().out


def test_python_and_command_line_agree(home: Path, run: Run) -> None:
    run("evaluate", home / "run", "--attack", "pgd:steps=3", "--no-checks", "--out", home / "cli.json")
    detector = unfooled.load(home / "run")
    frames = Frames(Manifest.read(home / "set/manifest.parquet").select(split="test"), 32)
    batch = next(iter(frames.test_loader(len(frames))))
    found = PGD(unfooled.Linf(2 / 255), steps=3)(detector, batch.x, batch.y)
    logits = Evaluation.read(home / "cli.json").conditions[1].logits
    assert found.logits.tolist() == pytest.approx(logits, abs=1e-4)


def test_one_manipulation_is_measured_alone(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    only = home / "only.json"
    assert run("evaluate", home / "run", "--manipulation", "FaceSwap", "--no-checks", "--out", only) == 0
    assert set(Evaluation.read(only).samples.manipulation) == {"Real", "FaceSwap"}
    assert run("evaluate", home / "run", "--manipulation", "faceswap", "--out", only) == 2
    assert "--manipulation must be of" in capsys.readouterr().err


def test_merged_sets_are_one_manifest(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    other, both = home / "other.parquet", home / "both.parquet"
    assert run("data", "index", "ffpp", home / "set", "--dataset", "other", "--out", other) == 0
    assert run("data", "merge", home / "set/manifest.parquet", other, "--out", both) == 0
    assert len(Manifest.read(both)) == 2 * len(Manifest.read(other))
    capsys.readouterr()
    assert run("data", "merge", other, other, "--out", both) == 2
    assert "ids occur in two manifests" in capsys.readouterr().err


def test_transfer_from_a_surrogate_run(home: Path, run: Run) -> None:
    attack = f"transfer:surrogate={home / 'run'},eps=8/255,steps=2"
    assert (
        run("evaluate", home / "run", "--attack", attack, "--no-checks", "--limit", 16, "--out", home / "t.json") == 0
    )
    assert Evaluation.read(home / "t.json").conditions[1].queries_mean == 0


def test_scores_of_somebody_elses_detector(home: Path, run: Run) -> None:
    manifest = Manifest.read(home / "set/manifest.parquet").select(split="test")
    rows = zip(manifest.column("id"), manifest.column("label"), strict=True)
    lines = ["id,score,score_adv", *(f"{i},{0.9 if y else 0.1},{0.2 if y else 0.8}" for i, y in rows)]
    (home / "theirs.csv").write_text("\n".join(lines))
    assert run("evaluate", "--scores", home / "theirs.csv", "--data", home / "set/manifest.parquet") == 0
    found = Evaluation.read(home / "theirs.eval.json")
    assert found.conditions[0].metrics["frame/auc"].value == 1
    assert found.conditions[1].metrics["robust/both/frame_auc"].value == 0


def test_somebody_elses_adversarial_images(home: Path, run: Run) -> None:
    status = run("evaluate", home / "run", "--adversarial", home / "set", "--out", home / "same.json")
    assert status == 0
    clean, same = Evaluation.read(home / "same.json").conditions
    assert clean.logits == pytest.approx(same.logits)
    assert same.distance_max == 0


def test_list_names_every_part(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    for name in ("resnet", "xception", "meso4", "pgd", "fgsm", "transfer", "afsl", "trades", "FaceSwap", "SelfBlended"):
        assert re.search(rf"^  {name} +\S", shown, re.MULTILINE), name


def test_kill_and_resume_end_where_an_unbroken_run_ends(home: Path, run: Run) -> None:
    command = [*BARE, "train", str(home / "recipe.toml"), "--out", str(home / "killed"), "--set", "epochs=4"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if (home / "killed/state.pt").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run("train", home / "recipe.toml", "--out", home / "killed", "--set", "epochs=4", "--resume") == 0
    assert run("train", home / "recipe.toml", "--out", home / "whole", "--set", "epochs=4") == 0
    for name in ("last.safetensors", "best.safetensors"):
        assert (home / "killed" / name).read_bytes() == (home / "whole" / name).read_bytes()


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from unfooled.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=os.environ)


def test_people_of_the_training_are_no_test_people(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.read(home / "set/manifest.parquet")
    swapped = {"train": "test", "test": "train", "validation": "validation"}
    manifest.with_column("split", [swapped[s] for s in manifest.column("split")]).write(home / "set/swapped.parquet")
    assert run("evaluate", home / "run", "--data", home / "set/swapped.parquet") == 2
    assert "trained or chose the detector" in capsys.readouterr().err
    assert run("evaluate", home / "run", "--split", "validation", "--out", home / "seen.json") == 0
    seen = Evaluation.read(home / "seen.json")
    assert "no test result" in seen.warnings[0]
    assert seen.provenance["split"] == "validation"


def test_names_that_other_code_relies_on() -> None:
    code = (
        "import unfooled\n"
        "unfooled.models.create, unfooled.attacks.FGSM, unfooled.attacks.PGD, unfooled.losses.binary_kl\n"
        "unfooled.losses.logit_adjusted_bce, unfooled.losses.adversarial_similarity\n"
        "unfooled.losses.similarity_regularization, unfooled.Linf, unfooled.L2, unfooled.load, unfooled.wrap\n"
        "assert callable(unfooled.evaluate)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
