"""The manifest keeps what it is given, finds every leak, and knows its content by a digest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfooled.data.manifest import COLUMNS, FAKE, REAL, SPLITS, Manifest, merge
from unfooled.errors import DataError

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)


def row(number: int, **changes: Any) -> dict[str, Any]:
    plain = {
        "id": f"set/Real/raw/{number}", "path": f"real/{number}.png", "label": REAL, "video": f"set/Real/{number}",
        "identity": f"p{number}", "manipulation": "Real", "split": "train",
    }  # fmt: skip
    return plain | changes


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 12))
    return [
        row(
            number,
            id=f"{number}/{draw(text)}",
            label=draw(st.sampled_from([REAL, FAKE])),
            video=f"v{draw(st.integers(0, 4))}",
            identity=draw(st.none() | text),
            source_identity=draw(st.none() | text),
            manipulation=draw(st.sampled_from(["Real", "FaceSwap", "GAN"])),
            split=draw(st.sampled_from(SPLITS)),
            status=draw(st.sampled_from(["ok", "unreadable", "missing"])),
        )
        for number in range(count)
    ]


@quick
@given(tables())
def test_a_written_manifest_reads_back_equal(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    manifest = Manifest.from_rows(rows, tmp_path, notes=["one"])
    manifest.write(tmp_path / "m.parquet")
    again = Manifest.read(tmp_path / "m.parquet")
    assert again.table.to_pylist() == manifest.table.to_pylist()
    assert (again.root, again.notes, again.digest()) == (tmp_path, ("one",), manifest.digest())
    assert [p.name for p in tmp_path.iterdir()] == ["m.parquet"]


@quick
@given(tables())
def test_select_cuts_the_rows_into_parts(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    manifest = Manifest.from_rows(rows, tmp_path)
    for name in ("split", "label", "manipulation", "identity"):
        values = list(dict.fromkeys(r[name] for r in rows))
        parts = [manifest.select(**{name: v}) for v in values]
        assert sorted(i for part in parts for i in part.column("id")) == sorted(manifest.column("id"))
        assert all(set(part.column(name)) == {v} for part, v in zip(parts, values, strict=True))
        assert len(manifest.select(**{name: values})) == len(rows)
    assert len(manifest.select(split="nowhere")) == 0


@quick
@given(tables(), st.randoms(use_true_random=False))
def test_the_digest_follows_content_not_order_or_place(tmp_path: Path, rows: list[dict[str, Any]], random: Any) -> None:
    digest = Manifest.from_rows(rows, tmp_path).digest()
    mixed = list(rows)
    random.shuffle(mixed)
    assert Manifest.from_rows(mixed, tmp_path / "elsewhere").digest() == digest
    changes = {"label": 1, "split": "x", "identity": "x", "source_identity": "x", "id": "x", "status": "x"}
    one = random.choice(rows)
    for name, change in changes.items():
        other = {"label": 1 - one["label"], "split": "test" if one["split"] != "test" else "train"}
        other["status"] = "ok" if one["status"] != "ok" else "missing"
        value = other.get(name, f"{one[name]}{change}")
        assert Manifest.from_rows([{**r, name: value} if r is one else r for r in rows], tmp_path).digest() != digest


@quick
@given(st.integers(3, 30), st.data())
def test_check_finds_exactly_the_planted_leaks(tmp_path: Path, count: int, data: st.DataObject) -> None:
    rows = [row(n, split=SPLITS[n % 3]) for n in range(count)]
    assert Manifest.from_rows(rows, tmp_path).check(files=False)  # one class only: a warning, no error
    victims = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3, unique=True))
    kind = data.draw(st.sampled_from(["identity", "source_identity", "video"]))
    for victim in victims:
        copy = row(1000 + victim, split=SPLITS[(victim + 1) % 3])
        copy[kind] = rows[victim]["video" if kind == "video" else "identity"]
        rows.append(copy)
    leaky = Manifest.from_rows(rows, tmp_path)
    word = "video" if kind == "video" else "person"
    with pytest.raises(DataError, match=rf"leak: {len(victims)} (videos|video|people|person) in two splits") as caught:
        leaky.check(files=False)
    assert any(repr(rows[v]["video" if kind == "video" else "identity"]) in str(caught.value) for v in victims)
    assert any(word in w or "people" in w or "videos" in w for w in leaky.check(files=False, published=True))


def test_a_fake_and_its_original_stay_together_also_where_nobody_knows_the_people(tmp_path: Path) -> None:
    original = row(0, identity=None, split="train")
    fakes = [
        row(n, identity=None, split=split, label=FAKE, manipulation="fake", parent=original["id"])
        for n, split in ((1, "train"), (2, "test"), (3, ""))
    ]
    together = Manifest.from_rows([original, fakes[0], fakes[2]], tmp_path)
    assert not any("original" in warning for warning in together.check(files=False))
    apart = Manifest.from_rows([original, *fakes], tmp_path)
    with pytest.raises(DataError, match="leak: 1 fakes in another split than their original") as caught:
        apart.check(files=False)
    assert f"{fakes[1]['id']!r} in test, its original in train" in str(caught.value)
    assert any("their original" in warning for warning in apart.check(files=False, published=True))


def test_rows_without_a_split_do_not_leak(tmp_path: Path) -> None:
    rows = [row(0), row(1, identity="p0", split="", label=FAKE, manipulation="GAN")]
    assert Manifest.from_rows(rows, tmp_path).check(files=False) == [
        "split 'train' holds only reals",
        "1 rows belong to no split",
    ]


def test_double_ids_and_missing_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 ids occur more than once, such as 'set/Real/raw/1'"):
        Manifest.from_rows([row(0), row(1), row(1)], tmp_path).check(files=False)
    (tmp_path / "real").mkdir()
    (tmp_path / "real/0.png").touch()
    with pytest.raises(DataError, match=r"1 of 2 files are missing, the first is .*real/1\.png"):
        Manifest.from_rows([row(0), row(1)], tmp_path).check()
    warnings = Manifest.from_rows([row(0), row(1, status="missing")], tmp_path).check()
    assert "1 rows are missing; they get no score" in warnings
    flat = Manifest.from_rows([row(0, path="a.png")], tmp_path)
    (tmp_path / "a.png").touch()
    flat.check()


def test_a_moved_set_still_finds_its_files(tmp_path: Path) -> None:
    for inside, root in (("set/manifest.parquet", "set"), ("manifest.parquet", "set"), ("set/tables/m.parquet", "set")):
        old, new = tmp_path / "old", tmp_path / "new"
        (old / "set/real").mkdir(parents=True)
        (old / "set/real/0.png").touch()
        Manifest.from_rows([row(0)], old / root).write(old / inside)
        old.rename(new)
        assert Manifest.read(new / inside).paths() == [new / "set/real/0.png"]
        assert Manifest.read(new / inside).paths()[0].is_file()
        new.rename(tmp_path / inside.replace("/", "-"))
    Manifest.from_rows([row(0)], tmp_path / "here").write(tmp_path / "there/m.parquet")
    assert Manifest.read(tmp_path / "there/m.parquet").root == tmp_path / "here"


def test_a_folder_stands_for_its_manifest(tmp_path: Path) -> None:
    Manifest.from_rows([row(0)], tmp_path).write(tmp_path / "manifest.parquet")
    assert len(Manifest.read(tmp_path)) == 1


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest at .*unfooled data index"):
        Manifest.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,path\n")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Manifest.read(tmp_path / "text.parquet")
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Manifest.read(tmp_path / "empty.parquet")
    pq.write_table(pa.table({"id": ["a"], "path": ["b"]}), tmp_path / "few.parquet")
    with pytest.raises(DataError, match="lacks the columns label, video, identity, source_identity, parent"):
        Manifest.read(tmp_path / "few.parquet")
    table = Manifest.from_rows([row(0)], tmp_path).table
    pq.write_table(table.slice(0, 0), tmp_path / "no-rows.parquet")
    with pytest.raises(DataError, match="has no rows"):
        Manifest.read(tmp_path / "no-rows.parquet")
    pq.write_table(table.replace_schema_metadata({"unfooled": '{"schema_version": 2}'}), tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"schema version 2, this unfooled reads <= 1; update"):
        Manifest.read(tmp_path / "new.parquet")
    pq.write_table(table.replace_schema_metadata({"unfooled": "{"}), tmp_path / "damaged.parquet")
    with pytest.raises(DataError, match="damaged"):
        Manifest.read(tmp_path / "damaged.parquet")
    pq.write_table(table.set_column(2, "label", pa.array(["real"])), tmp_path / "words.parquet")
    with pytest.raises(DataError, match="column 'label' must be int8, got string"):
        Manifest.read(tmp_path / "words.parquet")
    at = table.column_names.index("video")
    pq.write_table(table.set_column(at, "video", pa.array([["a", "b"]])), tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="column 'video' must be string, got list"):
        Manifest.read(tmp_path / "lists.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "label must be one of 0, 1, got 2"),
        ({"label": "fake"}, "do not fit"),
        ({"split": "val"}, "split must be one of 'train', 'validation', 'test', '', got 'val'"),
        ({"status": "fine"}, "status must be one of"),
        ({"path": None}, "column 'path' has 1 empty cells"),
        ({"vidoe": "x"}, "no column 'vidoe' .did you mean 'video'"),
    ],
)
def test_rows_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Manifest.from_rows([row(0), row(1, **change)], tmp_path)


def test_an_unwritable_place_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    manifest = Manifest.from_rows([row(0)], tmp_path)
    with pytest.raises(DataError, match="can not be written"):
        manifest.write(tmp_path / "file/m.parquet")
    with pytest.raises(DataError, match="without rows"):
        manifest.select(split="test").write(tmp_path / "m.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_columns_codes_take_and_replacement(tmp_path: Path) -> None:
    manifest = Manifest.from_rows([row(0), row(1, identity=None, label=FAKE, manipulation="GAN")], tmp_path)
    assert manifest.column("label").tolist() == [0, 1]
    assert manifest.column("identity").tolist() == ["p0", None]
    codes, values = manifest.codes("identity")
    assert [values[c] if c >= 0 else None for c in codes] == ["p0", None]
    assert manifest.take([1, 0]).column("id").tolist() == ["set/Real/raw/1", "set/Real/raw/0"]
    assert manifest.with_column("split", ["test", "test"]).column("split").tolist() == ["test", "test"]
    assert manifest.table.column_names == list(COLUMNS)
    with pytest.raises(DataError, match="did you mean 'split'"):
        manifest.column("splt")


def test_merge_joins_roots_and_refuses_double_ids(tmp_path: Path) -> None:
    one = Manifest.from_rows([row(0)], tmp_path / "a", notes=["n"])
    two = Manifest.from_rows([row(0, id="other/0", identity=None)], tmp_path / "b", notes=["n", "m"])
    both = merge([one, two])
    assert both.paths() == one.paths() + two.paths()
    assert (both.root, both.notes) == (tmp_path, ("n", "m"))
    assert both.column("identity").tolist() == ["p0", None]
    assert merge([one]).paths() == one.paths()
    with pytest.raises(DataError, match="1 ids occur in two manifests"):
        merge([one, one])
    with pytest.raises(DataError, match="nothing to merge"):
        merge([])


def test_summary_counts_rows_videos_people(tmp_path: Path) -> None:
    fake = {"label": FAKE, "manipulation": "GAN"}
    rows = [
        row(0),
        row(1, video="set/Real/0", identity="p0"),
        row(2, status="unreadable"),
        row(3, split="test", **fake),
    ]
    names = ["split", "manipulation", "label", "rows", "videos", "people", "ok", "unreadable"]
    assert [[line[n] for n in names] for line in Manifest.from_rows(rows, tmp_path).summary()] == [
        ["train", "Real", "real", 3, 2, 2, 2, 1],
        ["test", "GAN", "fake", 1, 1, 1, 1, 0],
    ]


def test_a_third_of_a_million_rows_stay_quick(tmp_path: Path) -> None:
    count = 300_000
    person = np.arange(count) // 300
    names = [f"p{p}" for p in person]
    columns = {
        "id": [f"set/Real/c23/{p}/{n}" for n, p in enumerate(person)],
        "path": [f"real/{p}/{n}.png" for n, p in enumerate(person)],
        "label": (person % 5 > 0).astype(np.int8),
        "video": names,
        "identity": names,
        "manipulation": ["Real"] * count,
        "split": np.array(SPLITS)[person % 3].tolist(),
    }
    manifest = Manifest.from_columns(columns, tmp_path)
    start = time.process_time()
    assert manifest.check(files=False) == []
    assert len(manifest.select(split="test", label=REAL).digest()) == 64
    manifest.write(tmp_path / "m.parquet")
    assert len(Manifest.read(tmp_path / "m.parquet").summary()) == 6
    assert time.process_time() - start < 3
    assert manifest.table.nbytes < 60e6
