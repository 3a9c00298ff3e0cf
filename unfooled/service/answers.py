"""What the service answers: the models behind its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from unfooled.scanning.ledger import Item, State
from unfooled.scanning.verdict import About, Scan
from unfooled.service.problems import Problem


class Answer(BaseModel):
    """A table of an answer; nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Job(Answer):
    """A file that was given to the service, and how far it is."""

    id: str = Field(description="secret: who knows it can read the result; there is no list of ids")
    name: str = Field(description="of the file, as it was given, without folders")
    state: State = Field(description="done: there is a scan; failed: there is only a reason")
    ahead: int | None = Field(description="files that are scanned before it, while it is queued")
    stage: str | None = Field(description="what is being done, while it is running")
    share: float | None = Field(description="of the stage, in [0, 1]")
    reason: str | None = Field(description="one line: why there is no verdict")
    scan: Scan | None = Field(description="the verdict with its evidence, when done")
    evidence: str | None = Field(description="address below which the pictures named in the scan lie")


class Limits(Answer):
    """What the service takes."""

    max_upload: int = Field(description="bytes of a file")
    timeout: float = Field(description="seconds for a file")
    queue: int = Field(description="files that may wait or arrive at once")
    paths: bool = Field(description="files below a folder of the server may be named by path")


class Health(Answer):
    """Who answers here, and how busy it is."""

    status: str = Field(description="ok, or what keeps scans from going on")
    version: str
    detector: About
    queued: int
    running: int
    limits: Limits


class Named(Answer):
    """A file of the server, named by its path below the configured root."""

    path: str = Field(min_length=1, max_length=4096, description="relative to the root, with / between folders")


def job_of(item: Item, ahead: int) -> Job:
    """The answer about a file of the ledger."""
    scan = Scan.model_validate_json(item.scan) if item.scan else None
    running, queued = item.state == "running", item.state == "queued"
    return Job(
        id=item.key, name=item.name, state=item.state, ahead=ahead if queued else None,
        stage=item.stage or "starting" if running else None, share=item.share if running else None,
        reason=item.reason or None, scan=scan, evidence=f"/v1/scan/{item.key}/evidence/" if scan else None,
    )  # fmt: skip


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an operation for its OpenAPI entry."""
    return {status: {"model": Problem, "description": MEANING[status]} for status in statuses}


MEANING = {
    400: "the request is broken: cut short, no form, no file, or a foreign Host",
    403: "not enabled, or asked by another site's page",
    404: "unknown id, name or path",
    408: "nothing arrived for too long",
    413: "too large",
    415: "neither a form nor JSON",
    422: "the JSON is not what it must be",
    429: "the queue is full; Retry-After says when to come again",
    507: "the disk of the service is full",
}

BODY = {
    "requestBody": {
        "required": True,
        "description": "the file as a form, or, where the service allows it, its path on the server",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "video or picture"}},
                }
            },
            "application/json": {"schema": Named.model_json_schema()},
        },
    }
}
