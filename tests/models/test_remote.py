"""Detectors that can only be called: the same scores as from inside, every query counted, nothing asked twice."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled import attacks
from unfooled.attacks import ATTACKS
from unfooled.codecs import quantise, to_pixels, to_tensor
from unfooled.errors import ConfigError, DataError
from unfooled.metrics.functions import auc
from unfooled.models.detector import Detector
from unfooled.models.published import load_published
from unfooled.models.remote import BlackBox, BudgetSpent, remote
from unfooled.models.targets import TargetError
from unfooled.threats import Linf


class Service:
    """A small HTTP server around a function from pixels to an answer; remembers what it was asked."""

    def __init__(self, answer: Callable[[np.ndarray], object]) -> None:
        self.answer = answer
        self.seen: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.plan: list[tuple[int, bytes, dict[str, str]]] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"]))
                mark = self.headers["Content-Type"].partition("boundary=")[2].encode()
                part = form.split(b"--" + mark)[1]
                head, _, png = part.partition(b"\r\n\r\n")
                png = png[:-2]
                service.seen.append(png)
                service.headers.append({**self.headers, "part": head.decode()})
                if service.plan:
                    status, body, headers = service.plan.pop(0)
                else:
                    pixels = np.asarray(Image.open(io.BytesIO(png)))
                    status, body, headers = 200, json.dumps(service.answer(pixels)).encode(), {}
                if status == 0:
                    time.sleep(0.4)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    """``serve(answer)``: a server for the time of the test."""
    running: list[Service] = []

    def start(answer: Callable[[np.ndarray], object]) -> Service:
        running.append(Service(answer))
        return running[-1]

    yield start
    for service in running:
        service.close()


def brightness(pixels: np.ndarray) -> dict[str, float]:
    return {"score": float(pixels.mean() / 255)}


def p_fake(detector: Detector) -> Callable[[np.ndarray], dict[str, float]]:
    def answer(pixels: np.ndarray) -> dict[str, float]:
        with torch.no_grad():
            return {"score": torch.sigmoid(detector(to_tensor(pixels)[None]).double()).item()}

    return answer


@pytest.fixture(scope="module")
def meso(shared: Path) -> tuple[Detector, Tensor, Tensor]:
    """The published Meso4 on its authors' four pictures at 32 px, and what they are."""
    pytest.importorskip("h5py")
    detector = load_published(shared / "models/Meso4_DF.h5", "meso4")
    files = sorted((shared / "models/mesonet_test_images").glob("*/*.jpg"))
    x = torch.stack([to_tensor(np.asarray(Image.open(f).convert("RGB").resize((32, 32)))) for f in files])
    return detector, x, torch.tensor([int(f.parent.name == "df") for f in files])


def test_scores_over_http_equal_local_ones(
    meso: tuple[Detector, Tensor, Tensor], serve: Callable[..., Service]
) -> None:
    detector, x, _ = meso
    service = serve(p_fake(detector))
    target = remote(service.url)
    with torch.no_grad():
        local, far = detector(x), target(x)
    assert far.shape == (len(x),)
    torch.testing.assert_close(far, local, rtol=1e-4, atol=1e-4)
    assert [to_pixels(image).tolist() for image in x] == [
        np.asarray(Image.open(io.BytesIO(png))).tolist() for png in service.seen
    ]


@pytest.mark.parametrize("name", ["square:eps=16/255,queries=100", "rbb:steps=16,pairs=10,sigma=2/255,step_size=2/255"])
def test_black_box_attacks_lower_the_auc_of_a_service(
    name: str, meso: tuple[Detector, Tensor, Tensor], serve: Callable[..., Service]
) -> None:
    if name.partition(":")[0] not in ATTACKS:
        pytest.skip("this attack is not there yet")
    detector, x, y = meso
    target = remote(serve(p_fake(detector)).url)
    with torch.no_grad():
        before = target(x)
    found = attacks.parse(name)(target, x, y)
    fakes = y == 1
    assert auc(torch.where(fakes, found.logits, before), y) < auc(before, y)
    assert (found.logits[fakes] < before[fakes]).all()
    assert target.asked <= int(found.queries.sum()) + 2 * len(x)


def test_an_attack_on_a_service_finds_what_it_finds_on_rounded_input(
    linear_detector: Detector, serve: Callable[..., Service]
) -> None:
    """The target is asked about the 8-bit image, so the answer to x_adv is that of the file."""
    x, y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0])
    target = remote(serve(p_fake(linear_detector)).url)
    found = attacks.create("noise", eps=8 / 255, draws=5)(target, x, y)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, linear_detector(quantise(found.x)), rtol=1e-4, atol=1e-4)
    assert found.queries.tolist() == [5, 5]


@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd:loss=features", "pgd:keep=last,random_start=false"])
def test_white_box_attacks_are_a_clear_error(name: str, batch: tuple[Tensor, Tensor]) -> None:
    target = remote(brightness, field="score")
    with pytest.raises(ConfigError, match=r"only be called.*black-box attack"):
        attacks.parse(name)(target, *batch)
    with pytest.raises(ConfigError, match="only be called"):
        target(batch[0].clone().requires_grad_())


def test_the_log_replays_without_asking(
    tmp_path: Path, batch: tuple[Tensor, Tensor], serve: Callable[..., Service]
) -> None:
    service, log = serve(brightness), tmp_path / "queries.jsonl"
    first = remote(service.url, log=log)
    noise = attacks.create("noise", eps=8 / 255, draws=3)
    found = noise(first, *batch)
    asked = len(service.seen)
    assert first.asked == asked == len(set(service.seen))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [r["sha256"] for r in rows] == [hashlib.sha256(png).hexdigest() for png in service.seen]
    assert all(r["seconds"] >= 0 and r["time"].endswith("Z") and 0 <= r["answer"] <= 1 for r in rows)
    again = remote(service.url, log=log, budget=asked)
    repeated = noise(again, *batch)
    assert torch.equal(repeated.x, found.x)
    assert torch.equal(repeated.logits, found.logits)
    assert len(service.seen) == asked == again.asked


def test_a_log_cut_by_a_kill_asks_for_the_lost_line_alone(tmp_path: Path, batch: tuple[Tensor, Tensor]) -> None:
    log, calls = tmp_path / "queries.jsonl", []

    def target(pixels: np.ndarray) -> float:
        calls.append(1)
        return float(pixels.mean() / 255)

    remote(target, log=log)(batch[0])
    log.write_bytes(log.read_bytes()[:-7])
    again = remote(target, log=log)
    assert again.asked == 7
    again(batch[0])
    assert len(calls) == 9


def test_a_log_of_another_target_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "queries.jsonl"
    remote(brightness, field="score", log=log)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="name another file for the log"):
        remote(p_fake, log=log)
    with pytest.raises(ConfigError, match="for 'score'"):
        remote(brightness, log=log)
    log.write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match="line 1 is no query"):
        remote(brightness, log=log)


def test_the_budget_stops_before_the_next_query(
    tmp_path: Path, batch: tuple[Tensor, Tensor], serve: Callable[..., Service]
) -> None:
    service, log = serve(brightness), tmp_path / "q.jsonl"
    target = remote(service.url, budget=5, log=log)
    with pytest.raises(BudgetSpent, match="budget of 5 queries is spent"):
        target(batch[0])
    assert len(service.seen) == 5
    target(batch[0][:5])
    with pytest.raises(BudgetSpent):
        remote(service.url, budget=5, log=log)(batch[0])
    remote(service.url, budget=8, log=log)(batch[0])
    assert len(service.seen) == 8


def test_one_image_is_asked_once_and_rounding_decides_what_is_one(serve: Callable[..., Service]) -> None:
    service = serve(brightness)
    target = remote(service.url)
    x = torch.full((1, 3, 8, 8), 100 / 255)
    z = target(torch.cat([x, x, x + 0.4 / 255, x + 0.6 / 255]))
    assert len(service.seen) == target.asked == 2
    assert z[0] == z[1] == z[2] < z[3]


@pytest.mark.parametrize(
    ("output", "answers", "expected"),
    [
        ("p_fake", [0.5, 0.9, 0, 1.0, "0.25"], [0, math.log(9), -16.118, 16.118, -math.log(3)]),
        ("p_real", [0.9], [-math.log(9)]),
        ("logit", [-3, 12.5], [-3, 12.5]),
        ("label", ["Fake", "real", 1, 0, 1.0, True, False], [1, -1, 1, -1, 1, 1, -1]),
    ],
)
def test_every_kind_of_answer_becomes_a_logit(output: Any, answers: list[object], expected: list[float]) -> None:
    said = iter(answers)
    target = remote(lambda _: next(said), output=output)
    x = torch.arange(len(answers)).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 255
    assert target(x).tolist() == pytest.approx(expected, abs=1e-3)


def test_numbers_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    for k, answer in enumerate((np.float32(0.5), np.array([0.5]), torch.tensor(0.5), {"a": [{"b": 0.5}]})):
        target = remote(lambda _, a=answer: a, field="a.0.b" if k == 3 else None, log=tmp_path / f"{k}.jsonl")
        assert target(torch.zeros(1, 3, 4, 4)).item() == 0


def test_the_threshold_is_the_targets_own() -> None:
    assert remote(brightness).threshold.item() == 0
    assert remote(brightness, threshold=0.9).threshold.item() == pytest.approx(math.log(9))
    assert remote(brightness, output="logit", threshold=2.5).threshold.item() == 2.5
    for output, value in (("label", 0.5), ("p_fake", 1.0)):
        with pytest.raises(ConfigError, match="threshold"):
            remote(brightness, output=output, threshold=value)


BAD = [
    ({"plan": (200, b"<html>hello</html>", {"Content-Type": "text/html"})}, "answered with text/html instead of JSON"),
    ({"plan": (200, b'{"other": 1}', {})}, "no field 'score' in its answer; 'score' is not in: other"),
    ({"plan": (200, b'{"score": NaN}', {})}, "answered nan, which is no finite score"),
    ({"plan": (200, b'{"score": null}', {})}, "answered None"),
    ({"plan": (200, b'{"score": {"p": 1}}', {})}, "answered {'p': 1}; name the field of it that holds the score"),
    ({"plan": (200, b'{"score": true}', {})}, "answered True, which is no finite score"),
    ({"plan": (200, b'{"score": "high"}', {})}, "answered 'high' where a score must stand"),
    ({"plan": (200, b'{"score": 1.5}', {})}, r"answered 1.5, a probability must be in \[0, 1\]; is the output a logit"),
    ({"plan": (200, b"x" * 1_000_001, {})}, "more than 1,000,000 bytes"),
    ({"plan": (404, b"no such page", {})}, "HTTP status 404: 'no such page'"),
    ({"plan": (302, b"", {"Location": "http://192.0.2.1/"})}, "redirects to 'http://192.0.2.1/', which is not"),
    ({"plan": (0, b"", {}), "timeout": 0.1}, r"did not answer within 0.1 s; is it running"),
    ({"plan": (500, b"", {})}, "HTTP status 500"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), BAD)
def test_a_bad_answer_is_one_clear_line(
    given: dict[str, Any], message: str, tmp_path: Path, serve: Callable[..., Service]
) -> None:
    service, log = serve(brightness), tmp_path / "log.jsonl"
    service.plan = [given.pop("plan")]
    target = remote(service.url, retries=0, log=log, **given)
    with pytest.raises(TargetError, match=message) as error:
        target(torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)
    assert len(service.seen) == 1
    assert not log.exists()
    assert target.asked == 0


def test_a_target_that_is_down_is_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/score"
    with pytest.raises(TargetError, match=r"Connection refused\) \(3 attempts\); is it running"):
        remote(url, retries=2, backoff=0.001)(torch.zeros(1, 3, 8, 8))


def test_a_stumbling_service_is_asked_again_and_counted_once(serve: Callable[..., Service]) -> None:
    service = serve(brightness)
    service.plan = [(503, b"", {}), (429, b"", {"Retry-After": "0"}), (0, b"", {})]
    target = remote(service.url, timeout=5, backoff=0.001)
    assert target(torch.zeros(1, 3, 8, 8)).item() == pytest.approx(-16.118, abs=1e-3)
    assert len(service.seen) == 4
    assert target.asked == 1


def test_form_field_and_headers_are_as_asked(serve: Callable[..., Service]) -> None:
    service = serve(lambda _: {"result": {"scores": [0.25, 0.75]}})
    target = remote(service.url, field="result.scores.1", upload="image", headers={"X-Key": "abc"})
    assert target(torch.zeros(1, 3, 8, 8)).item() == pytest.approx(math.log(3))
    assert service.headers[0]["X-Key"] == "abc"
    assert 'name="image"; filename="image.png"' in service.headers[0]["part"]


def test_the_rate_is_kept() -> None:
    target = remote(brightness, field="score", rate=50)
    started = time.monotonic()
    target(torch.arange(6).reshape(6, 1, 1, 1).expand(6, 3, 4, 4) / 255)
    assert time.monotonic() - started >= 5 / 50


@pytest.mark.parametrize("host", ["example.org", "192.168.0.7", "0.0.0.0", "2130706433", "127.0.0.1.example.org"])
def test_only_this_machine_may_be_asked_unless_its_owner_agreed(host: str) -> None:
    url = f"http://{host}:8000/score"
    with pytest.raises(ConfigError, match=f"'{host}' is not this machine.*--i-am-authorized {host}"):
        remote(url)
    assert isinstance(remote(url, authorized=[host]), BlackBox)
    with pytest.raises(ConfigError, match="is not this machine"):
        remote(url, authorized=["another.example.org"])
    for home in ("127.0.0.1", "localhost", "[::1]", "127.8.8.8"):
        remote(f"http://{home}:8000/score")


def test_a_command_is_a_target(tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import json, sys\nfrom PIL import Image\nimport numpy as np\n"
        "m = float(np.asarray(Image.open(sys.argv[1])).mean() / 255)\n"
        "print(json.dumps({'p': m}) if len(sys.argv) > 2 else f'model v2 says: {m:.9f}')\n"
    )
    x = torch.full((1, 3, 8, 8), 51 / 255)
    for command, field in (
        (f"{sys.executable} {program} {{file}}", None),
        (f"{sys.executable} {program} {{file}} j", "p"),
    ):
        assert remote(command, field=field)(x).item() == pytest.approx(math.log(0.2 / 0.8), abs=1e-5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no model')", "ended with status 1: no model"),
        ("pass", "printed nothing"),
        ("print('nan')", "no finite score"),
        ("print('hello')", "'hello' where a score must stand"),
        ("import time; time.sleep(9)", "did not answer within 0.3 s"),
    ],
)
def test_a_command_that_fails_is_one_clear_line(code: str, message: str) -> None:
    timeout = 0.3 if "sleep" in code else 10
    target = remote(f'{sys.executable} -I -S -c "{code}" {{file}}', timeout=timeout)
    with pytest.raises(TargetError, match=message) as error:
        target(torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)


def test_a_label_on_the_command_line_is_its_last_word() -> None:
    target = remote(f"{sys.executable} -I -S -c \"print('this is FAKE')\" {{file}}", output="label")
    assert target(torch.zeros(1, 3, 8, 8)).item() == 1


def test_a_function_is_found_by_name_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_judge.py").write_text(
        "other = 3\n\ndef judge(pixels):\n"
        "    assert pixels.dtype == 'uint8' and pixels.shape == (8, 9, 3)\n    return 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert remote("my_judge:judge")(torch.zeros(1, 3, 8, 9)).item() == 0
    assert sys.path == before
    with pytest.raises(TargetError, match="my_judge:judge raised AssertionError"):
        remote("my_judge:judge")(torch.zeros(1, 3, 8, 8))
    for name, message in (
        ("my_jugde:judge", "No module"),
        ("my_judge:jugde", "no 'jugde'"),
        ("my_judge:other", "no function"),
    ):
        with pytest.raises(ConfigError, match=message):
            remote(name)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("mydetector", {}, r"target must be http://127.0.0.1:8000/score, 'mydetector \{file\}' or module:function"),
        ("no-such-program {file}", {}, "there is no program 'no-such-program'"),
        ("'open {file}", {}, "no command line: no closing quotation"),
        ("http://", {}, "names no host"),
        ("http://127.0.0.1:99999/", {}, "no address"),
        ("http://me:secret@127.0.0.1/", {}, "must not hold a user or password"),
        ("http://127.0.0.1/ü", {}, "percent-encode"),
        ("http://127.0.0.1/", {"headers": {"X": "a\nb"}}, "plain ASCII"),
        ("cat {file}", {"headers": {"X": "a"}}, "headers belong to an HTTP target"),
        ("math:sqrt", {"output": "score"}, "output must be one of p_fake, p_real, logit, label"),
        ("math:sqrt", {"budget": 0}, "budget must be at least 1"),
        ("math:sqrt", {"rate": 0}, "rate must be > 0"),
        ("math:sqrt", {"timeout": float("inf")}, "timeout must be > 0"),
        ("math:sqrt", {"retries": -1}, "retries and backoff"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        remote(target, **options)


def test_a_clip_is_refused() -> None:
    with pytest.raises(ConfigError, match="single images"):
        remote(brightness)(torch.zeros(1, 3, 2, 8, 8))


def test_it_is_judged_like_any_detector(linear_detector: Detector, serve: Callable[..., Service]) -> None:
    """An adversary that must not change anything gets the plain verdicts."""
    target = remote(serve(p_fake(linear_detector)).url)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = attacks.Noise(Linf(0))(target, x, torch.tensor([0, 1, 0, 1]))
    with torch.no_grad():
        wrong = (linear_detector(quantise(x)) > 0) != torch.tensor([False, True, False, True])
    assert torch.equal(found.success, wrong)
