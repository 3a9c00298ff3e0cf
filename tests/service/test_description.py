"""The OpenAPI document against the service: what is described is what happens, and nothing makes a 500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clients import listening, wish
from fake_scanner import fake

from unfooled.service.settings import Settings

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("root")
    (root / "a.mp4").write_bytes(b"a")
    settings = Settings(
        data=tmp_path_factory.mktemp("data"), opener=fake, root=root, reserve=0, queue=1000, timeout=5, port=0
    )
    with listening(settings) as (host, port):
        yield f"http://{host}:{port}"


def test_no_request_makes_a_500(address: str) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    key = httpx.post(f"{address}/v1/scan", files={"file": ("a.mp4", wish(a=1))}).json()["id"]
    seen: Counter[tuple[str, int]] = Counter()
    quick = settings(
        max_examples=60, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations():
        operation = found.ok()

        @quick
        @given(case=operation.as_strategy())
        def asked(case: schemathesis.Case) -> None:
            # Some requests are about an id that exists, or only 404 would be seen. Nobody removes it meanwhile.
            if case.method == "GET" and "id" in case.path_parameters and len(case.path_parameters["id"]) % 3 == 0:
                case.path_parameters["id"] = key
            answer = case.call()
            seen[case.operation.label, answer.status_code] += 1
            assert answer.status_code < 500, case.as_curl_command()
            # Status, kind and form of the body are as the document says.
            case.validate_response(
                answer, excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
            )

        asked()
    assert {label for label, _ in seen} == {
        "POST /v1/scan", "GET /v1/scan/{id}", "DELETE /v1/scan/{id}", "GET /v1/scan/{id}/evidence/{name}",
        "GET /v1/health",
    }  # fmt: skip
    assert seen["GET /v1/scan/{id}", 200] > 0
