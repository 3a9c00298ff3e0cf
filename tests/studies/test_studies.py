"""Studies: what a file means, that work is shared and resumed, and that the table says what the results say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from unfooled import metrics, models, objectives
from unfooled.cli import main
from unfooled.config import build_attack, dump
from unfooled.errors import ConfigError
from unfooled.results import Evaluation
from unfooled.studies import load_study, tabulate, work_on
from unfooled.studies.plan import jobs_of
from unfooled.studies.tables import _Drawn, markdown, page
from unfooled.studies.work import ASKED, RESULT, START, is_done, question

ROOT = Path(__file__).parents[2]
BASE = """epochs = 1
[data]
manifest = "{manifest}"
size = 16
[detector]
width = 2
stem_stride = 2
[training]
batch_size = 16
lr = 0.05
workers = 0
[evaluation]
attack = "none"
"""
STUDY = """recipe = "base.toml"
seeds = [0, 1]
split = "test"
set = ["training.momentum=0.8"]
compare = [["at", "plain"]]

[attacks]
"4/255" = ["fgsm:eps=4/255", "transfer:surrogate={plain},attack=fgsm,eps=4/255"]
"8/255" = ["fgsm:eps=8/255", "transfer:surrogate={at},attack=fgsm,eps=8/255"]

[[run]]
name = "plain"

[[run]]
name = "at"
start = "plain"
set = ["objective.name=at", "objective.eps=8/255", "objective.steps=1"]
"""


@pytest.fixture(scope="module")
def place(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    manifest = toy.write(folder / "data", rows=32)
    (folder / "base.toml").write_text(BASE.format(manifest=manifest))
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    """The folder of a finished study."""
    work_on(load_study(place / "study.toml"), place / "study.toml", place / "out", device="cpu")
    return place / "out"


def test_jobs_come_after_what_they_need_and_know_their_changes(place: Path) -> None:
    jobs = jobs_of(load_study(place / "study.toml"), place / "study.toml", Path("out"))
    assert [j.name for j in jobs] == ["plain-0", "at-0", "plain-1", "at-1"]
    plain, at = jobs[2], jobs[3]
    assert (plain.start, plain.surrogates, plain.recipe.init) == ("", ("at-1",), None)
    assert (at.start, at.surrogates, at.recipe.init) == ("plain-1", ("plain-1",), "out/plain-1")
    assert plain.recipe.seed == at.recipe.seed == 1
    assert plain.recipe.training.momentum == at.recipe.training.momentum == 0.8  # type: ignore[attr-defined]
    assert at.recipe.objective.name == "at"
    # Nobody transfers from a run to itself.
    assert plain.attacks == (
        "fgsm:eps=4/255", "fgsm:eps=8/255", "transfer:surrogate=out/at-1,attack=fgsm,eps=8/255"
    )  # fmt: skip
    assert at.attacks[1] == "transfer:surrogate=out/plain-1,attack=fgsm,eps=4/255"


def test_variants_change_every_run(place: Path) -> None:
    (place / "variants.toml").write_text(
        STUDY.replace("seeds = [0, 1]", "seeds = [3]")
        + '[[variant]]\nname = "a"\n[[variant]]\nname = "b"\nset = ["data.size=24"]\nmanipulations = ["Stripes"]\n'
    )
    jobs = jobs_of(load_study(place / "variants.toml"), place / "variants.toml", Path("out"))
    assert [j.name for j in jobs] == ["plain-a-3", "at-a-3", "plain-b-3", "at-b-3"]
    assert [j.recipe.data.size for j in jobs] == [16, 16, 24, 24]
    assert [j.manipulations for j in jobs] == [(), (), ("Stripes",), ("Stripes",)]
    assert jobs[3].start == "plain-b-3"


def test_the_table_says_what_the_results_say(place: Path, done: Path) -> None:
    study = load_study(place / "study.toml")
    table = tabulate(study, place / "study.toml", done)
    assert table.jobs == (4, 4)
    read = {n: Evaluation.read(done / n / RESULT) for n in ("plain-0", "plain-1", "at-0", "at-1")}

    def auc(name: str, place: int) -> float:
        found = read[name]
        return metrics.auc(np.asarray(found.conditions[place].logits), np.asarray(found.samples.label))

    at = [auc("at-0", 0), auc("at-1", 0)]
    assert table.aucs["", "at", "clean"].seeds == pytest.approx(at)
    assert table.aucs["", "at", "clean"].value == pytest.approx(np.mean(at))
    # The weakest of the threat, by seed: conditions 1 and 2 of a run that is no surrogate.
    weakest = [min(auc(f"at-{s}", 1), auc(f"at-{s}", 2)) for s in (0, 1)]
    assert table.aucs["", "at", "4/255"].seeds == pytest.approx(weakest)
    plain = [auc(f"plain-{s}", 1) for s in (0, 1)]
    assert table.aucs["", "plain", "4/255"].seeds == pytest.approx(plain)
    both = [min(auc(f"plain-{s}", 2), auc(f"plain-{s}", 3)) for s in (0, 1)]
    assert table.aucs["", "plain", "8/255"].seeds == pytest.approx(both)
    difference = table.differences["", ("at", "plain"), "4/255"]
    assert difference.value == pytest.approx(np.mean(weakest) - np.mean(plain))
    for line in (*table.aucs.values(), *table.differences.values()):
        assert line.low <= line.value <= line.high
    assert table.seconds["", "at"] > table.seconds["", "plain"] > 0
    text = markdown(study, table)
    assert f"| at | {table.aucs['', 'at', 'clean']} |" in text
    assert "| at - plain | " in text
    html = page(study, table, "Study: toys")
    assert html == page(study, table, "Study: toys")
    for told in ("<h1>Study: toys</h1>", "trained with 2 seeds", "Paired differences of AUC", "at - plain"):
        assert told in html
    assert f"<span>{table.aucs['', 'at', '8/255'].value:.3f}</span>" in html
    assert all(f'data-chart="tradeoff0-{n}"' in html for n in (0, 1))
    assert not any(len({line.count("|") for line in block.splitlines()}) > 1 for block in text.split("\n\n") if block)


def test_a_study_of_one_seed_draws_people_alone(place: Path, done: Path) -> None:
    one = load_study(place / "study.toml").model_copy(update={"seeds": [1]})
    line = tabulate(one, place / "study.toml", done).aucs["", "at", "8/255"]
    found = Evaluation.read(done / "at-1" / RESULT)
    interval = found.conditions[3].metrics["robust/both/frame_auc"]
    assert line.seeds == (line.value,)
    assert (line.low, line.high) == pytest.approx((interval.low, interval.high))


def test_variants_are_averaged(place: Path, done: Path, tmp_path: Path) -> None:
    text = STUDY + '[[variant]]\nname = "a"\n[[variant]]\nname = "b"\n'
    (place / "two.toml").write_text(text)
    for name in ("plain", "at"):
        for seed in (0, 1):
            for variant in "ab":
                # Any finished results do: seed 1 stands in for the variant b.
                source = done / f"{name}-{seed if variant == 'a' else 1}"
                shutil.copytree(source, tmp_path / f"{name}-{variant}-{seed}")
    for folder in tmp_path.iterdir():
        _rename(folder, place / "two.toml", tmp_path)
    table = tabulate(load_study(place / "two.toml"), place / "two.toml", tmp_path)
    a, b, mean = (table.aucs[v, "at", "clean"].value for v in ("a", "b", "mean over variants"))
    assert mean == pytest.approx((a + b) / 2)
    assert ("mean over variants", ("at", "plain"), "8/255") in table.differences


def _rename(folder: Path, path: Path, out: Path) -> None:
    """Let a copied result pass for that of its new job."""
    study = load_study(path)
    (job,) = [j for j in jobs_of(study, path, out) if j.name == folder.name]
    (folder / "recipe.toml").write_text(dump(job.recipe))
    (folder / START).unlink(missing_ok=True)
    (folder / ASKED).write_text(question(job, study, out))


@pytest.mark.parametrize("change", [{"split": "validation"}, {"limit": 8}])
def test_a_result_of_another_question_does_not_count(place: Path, done: Path, change: dict[str, Any]) -> None:
    study = load_study(place / "study.toml")
    job = jobs_of(study, place / "study.toml", done)[0]
    assert is_done(job, study, done)
    assert not is_done(job, study.model_copy(update=change), done)
    assert tabulate(study.model_copy(update=change), place / "study.toml", done).jobs == (0, 4)


def test_what_is_done_is_not_done_again(place: Path, done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.is_file()}
    said: list[Any] = []
    work_on(load_study(place / "study.toml"), place / "study.toml", done, tell=said.append)
    assert not said
    assert {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.is_file()} == before


def test_a_new_attack_evaluates_again_and_trains_no_more(place: Path, done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "plain-0", tmp_path / "plain-0")
    (place / "more.toml").write_text(
        STUDY.replace("seeds = [0, 1]", "seeds = [0]").partition("\n[[run]]\nname = \"at\"")[0]
        .replace('["at", "plain"]', '["plain", "plain"]').replace('"fgsm:eps=8/255", ', '"noise:eps=8/255"')
        .replace('"transfer:surrogate={at},attack=fgsm,eps=8/255"', "")
    )  # fmt: skip
    study = load_study(place / "more.toml")
    (job,) = jobs_of(study, place / "more.toml", tmp_path)
    assert not is_done(job, study, tmp_path)
    weights = (tmp_path / "plain-0" / "best.safetensors").read_bytes()
    parts = tmp_path / "plain-0" / f"{RESULT}.parts"
    made = {p: p.stat().st_mtime_ns for p in parts.iterdir()}
    work_on(study, place / "more.toml", tmp_path, device="cpu")
    assert is_done(job, study, tmp_path)
    after = {p: p.stat().st_mtime_ns for p in parts.iterdir()}
    assert made
    assert len(after) > len(made)
    assert {p: after[p] for p in made} == made, "what was scored once was scored again"
    assert (tmp_path / "plain-0" / "best.safetensors").read_bytes() == weights


def test_a_run_that_is_not_judged_is_trained_for_those_that_start_from_it(place: Path, tmp_path: Path) -> None:
    (place / "start.toml").write_text(
        STUDY.replace("seeds = [0, 1]", "seeds = [0]")
        .replace(', "transfer:surrogate={plain},attack=fgsm,eps=4/255"', "")
        .replace('["at", "plain"]', '["at", "at"]').replace('"plain"\n\n', '"plain"\njudged = false\n\n')
    )  # fmt: skip
    study = load_study(place / "start.toml")
    plain, at = jobs_of(study, place / "start.toml", tmp_path)
    assert (plain.judged, at.judged) == (False, True)
    said: list[Any] = []
    work_on(study, place / "start.toml", tmp_path, device="cpu", tell=said.append)
    assert [(s.job.run, s.stage, s.done) for s in said] == [
        ("plain", "train", 0), ("plain", "done", 1), ("at", "train", 1), ("at", "evaluate", 1), ("at", "done", 2)
    ]  # fmt: skip
    assert not (tmp_path / "plain-0" / RESULT).exists()
    table = tabulate(study, place / "start.toml", tmp_path)
    assert (table.jobs, {run for _, run, _ in table.aucs}) == ((2, 2), {"at"})
    alone = sum(json.loads(line)["seconds"] for line in (tmp_path / "at-0" / "metrics.jsonl").read_text().splitlines())
    assert table.seconds["", "at"] > alone


@pytest.mark.parametrize("path", sorted((ROOT / "recipes/studies").glob("*.toml")), ids=lambda path: path.stem)
def test_our_studies_can_be_built(path: Path, tmp_path: Path) -> None:
    jobs = jobs_of(load_study(path), path, tmp_path)
    data = [job.recipe.data for job in jobs]
    if len({(tuple(d.leave_out), tuple(d.collections), d.people) for d in data}) > 1:
        assert {d.views for d in data} == {6400}, "variants of other data must not differ in the length of training"
    assert {job.start for job in jobs} <= {"", *(job.name for job in jobs)}
    for job in jobs:
        detector = models.create(job.recipe.detector.name, **job.recipe.detector.options)
        assert detector.features(torch.rand(2, 3, job.recipe.data.size, job.recipe.data.size)).ndim == 2
        options = {k: v for k, v in job.recipe.objective.options.items() if v != "data"}
        assert objectives.create(job.recipe.objective.name, **options)
        for attack in job.attacks:
            assert "surrogate" in attack or build_attack(attack)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (('name = "plain"', 'name = "plain"\njudged = false'), "compares run 'plain', which has judged = false"),
        (("seeds", "sede"), r"study .*: sede: extra inputs are not permitted \(did you mean 'seeds'\?\)"),
        (("[0, 1]", "[]"), "has no seeds; there is nothing to do"),
        (("[0, 1]", "[1, 1]"), "has seed '1' twice"),
        (('name = "at"', 'name = "plain"'), "has run 'plain' twice"),
        (('name = "at"', 'name = "a-t"'), "run 'a-t' must be made of letters"),
        (('start = "plain"', 'start = "at"'), "starts from 'at', which is no run above it"),
        (("{plain}", "{plane}"), r"has no run 'plane' \(did you mean 'plain'\?\)"),
        (('["at", "plain"]', '["at", "other"]'), "has no run 'other'"),
        (('"test"', '"train"'), "split must be validation or test, got 'train'"),
        (('"fgsm:eps=8/255"', '"fgsm:eps=4/255"'), "has the attack 'fgsm:eps=4/255' twice"),
        (("[attacks]", "[attacks"), "is not TOML"),
        (("[attacks]", "[attacks]\nnone = []"), "threat 'none' has no attack"),
        (('"4/255" =', '"clean" ='), "threat 'clean' is the name of the column without attack"),
        (('"fgsm:eps=4/255", ', ""), "threat '4/255' holds no attack on run 'plain'"),
        (('"fgsm:eps=8/255"', '"fgsm:eps=0.015686274509803921"'), "has the attack .* twice, written in two ways"),
        (('"fgsm:eps=4/255"', '"fgms:eps=4/255"'), r"no attack named 'fgms' .did you mean 'fgsm'"),
        (('split = "test"', 'split = "test"\nlimit = 1'), "limit must be >= 2"),
    ],
)  # fmt: skip
def test_mistakes_are_told(change: tuple[str, str], text: str, place: Path) -> None:
    (place / "bad.toml").write_text(STUDY.replace(*change))
    with pytest.raises(ConfigError, match=text):
        load_study(place / "bad.toml")


def test_a_run_from_before_a_key_existed_is_taken(place: Path, done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "out")
    saved = tmp_path / "out" / "plain-0" / "recipe.toml"
    old = saved.read_text().replace("leave_out = []\n", "")
    assert old != saved.read_text()
    saved.write_text(old)
    said: list[Any] = []
    study = load_study(place / "study.toml")
    # The init of the others names the folder, so that they are those of another study.
    for name in ("at-0", "at-1"):
        shutil.rmtree(tmp_path / "out" / name)
    work_on(
        study.model_copy(update={"seeds": [0], "run": study.run[:1], "attacks": {}, "compare": []}),
        place / "study.toml", tmp_path / "out", device="cpu", tell=said.append,
    )  # fmt: skip
    assert [(s.job.name, s.stage) for s in said] == [("plain-0", "evaluate"), ("plain-0", "done")]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('manipulations = ["Stripe"]', r"manipulations must be of .*, got 'Stripe'"),
        ('collections = ["gpo"]', "collections must be of .*, got 'gpo'"),
    ],
)
def test_rows_that_nobody_has_are_told_before_the_first_training(
    place: Path, tmp_path: Path, line: str, text: str
) -> None:
    (place / "rows.toml").write_text(STUDY + f'[[variant]]\nname = "a"\n{line}\n')
    with pytest.raises(ConfigError, match=text):
        work_on(load_study(place / "rows.toml"), place / "rows.toml", tmp_path, device="cpu")
    assert not any(tmp_path.iterdir())


def test_results_of_weights_that_have_changed_do_not_count(place: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved"
    shutil.copytree(done, out)
    study, path = load_study(place / "study.toml"), place / "study.toml"
    jobs = {job.name: job for job in jobs_of(study, path, out)}
    assert all(is_done(job, study, out) for job in jobs.values()), "a study may be moved"
    shutil.copy(out / "plain-1" / "best.safetensors", out / "plain-0" / "best.safetensors")
    # Of the run itself, and of whoever met attacks that were made on it.
    assert {name for name, job in jobs.items() if not is_done(job, study, out)} == {"plain-0", "at-0"}
    with pytest.raises(ConfigError, match="at-0 began from other weights than plain-0 has now; remove it"):
        tabulate(study, path, out)
    shutil.copy(done / "plain-0" / "best.safetensors", out / "plain-0" / "best.safetensors")
    (out / "at-1" / "metrics.jsonl").unlink()
    assert {name for name, job in jobs.items() if not is_done(job, study, out)} == {"at-1"}
    assert tabulate(study, path, out).jobs == (3, 4)


def test_the_part_of_seeds_is_stretched(place: Path, done: Path) -> None:
    study = load_study(place / "study.toml")
    drawn = _Drawn(study, {}, done, 0)
    values, draws = np.array([0.2, 0.6]), np.repeat([[0.2], [0.6]], 1000, 1)
    line = drawn.line(values, draws)
    # Two seeds that differ by .4, drawn with replacement, and people that do not matter: .4 +- .2 * sqrt(2).
    assert (line.low, line.value, line.high) == pytest.approx((0.4 - 0.2 * 2**0.5, 0.4, 0.4 + 0.2 * 2**0.5))


def test_a_folder_of_another_recipe_is_refused(place: Path, done: Path) -> None:
    (place / "other.toml").write_text(STUDY.replace("0.8", "0.7"))
    with pytest.raises(ConfigError, match="was trained by another recipe; choose another --out, or remove it"):
        work_on(load_study(place / "other.toml"), place / "other.toml", done)


def test_two_processes_share_the_work_to_the_same_end(
    place: Path, done: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "s"
    with pytest.raises(SystemExit) as end:
        main(["study", str(place / "study.toml"), "--out", str(out), "--workers", "2", "--device", "cpu"])
    assert end.value.code in (0, None)
    told = capsys.readouterr()
    assert (out / "study.md").read_text() in told.out
    assert "study.html" in told.out
    assert "4 of 4 trainings" in told.out
    one, other = (Evaluation.read(folder / "at-1" / RESULT) for folder in (done, out))
    assert one.conditions[1].logits == pytest.approx(other.conditions[1].logits, abs=1e-4)
    assert not list(out.glob(".*.lock"))
    with pytest.raises(SystemExit) as end:
        main(["study", str(place / "nowhere.toml"), "--out", str(out)])
    assert end.value.code == 2
    assert "can not be read" in capsys.readouterr().err
