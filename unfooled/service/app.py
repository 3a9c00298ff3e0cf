"""The HTTP interface: an app for any ASGI server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route

from unfooled import __version__
from unfooled.scanning.ledger import Item
from unfooled.scanning.verdict import SCHEMA_VERSION, About
from unfooled.service.answers import BODY, Health, Job, Limits, Named, job_of, problems
from unfooled.service.guard import Guard, hosts_for
from unfooled.service.jobs import Jobs
from unfooled.service.problems import DISK_FULL, Refused, is_disk_full
from unfooled.service.settings import Settings
from unfooled.service.supervisor import Supervisor
from unfooled.service.uploads import Upload, receive, shown_name, small_body
from unfooled.service.worker import Worker

STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings) -> FastAPI:
    """The service, ready to be served: the detector is loaded and the data folder is taken.

    Queued files are scanned as soon as the app starts; when it ends, the file in work goes back to the queue.

    Raises:
        ConfigError: the detector can not be opened, or the folder belongs to another job or to a running service.
    """
    workers = [Worker(settings) for _ in range(settings.workers)]
    about = workers[0].start()
    try:
        facts = _facts(settings, about)
        jobs = Jobs(settings.data, facts, settings.queue, settings.keep_uploads)
    except BaseException:
        workers[0].stop()
        raise
    crew = [Supervisor(jobs, worker) for worker in workers]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for supervisor in crew:
            supervisor.start()
        try:
            yield
        finally:
            await asyncio.gather(*(run_in_threadpool(supervisor.end) for supervisor in crew))
            jobs.close()

    app = FastAPI(
        title="Unfooled", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        summary="A verdict on faces in videos and pictures that a person can check",
        description="Give a file, keep its id, ask until it is done or failed. The id is secret: it is the only key.",
    )  # fmt: skip
    app.add_middleware(Guard, hosts=hosts_for(settings.host, settings.allow_hosts))
    _catch(app)
    _routes(app, settings, about, jobs, crew)
    _page(app)
    return app


def _page(app: FastAPI) -> None:
    """The page and its parts, each directly below the root: nothing of the interface is hidden by them."""
    files = StaticFiles(directory=STATIC)

    async def page(request: Request) -> Response:
        return await files.get_response(request.path_params.get("name", "index.html"), request.scope)

    app.add_route("/", page, include_in_schema=False)
    app.add_route("/{name}", page, include_in_schema=False)


def _routes(app: FastAPI, settings: Settings, about: About, jobs: Jobs, crew: list[Supervisor]) -> None:
    limits = Limits(
        max_upload=settings.max_upload, timeout=settings.timeout, queue=settings.queue, paths=settings.root is not None
    )

    @app.post(
        "/v1/scan", status_code=202, response_model=Job, openapi_extra=BODY, operation_id="scan",
        response_description="taken: ask for the result with the id",
        responses={
            200: {"model": Job, "description": "the same bytes were scanned before: the result at once"},
            **problems(400, 403, 404, 408, 413, 415, 422, 429, 507),
        },
    )  # fmt: skip
    async def scan(request: Request, response: Response) -> Job:
        """Give a file: upload it, or name it by its path on the server where that is enabled."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("multipart/form-data", "application/json"):
            raise Refused(415, "send the file as multipart/form-data in a part named 'file'")
        with jobs.place() as (key, part):
            if kind == "application/json":
                upload = await _named(request, settings)
            else:
                upload = await receive(request, part, settings.max_upload, settings.patience, settings.reserve)
            known = await run_in_threadpool(jobs.submit, key, upload, kind != "application/json")
        response.status_code = 200 if known else 202
        response.headers["Location"] = f"/v1/scan/{key}"
        return await run_in_threadpool(result, key)

    @app.get(
        "/v1/scan/{id}", response_model=Job, responses=problems(400, 404, 507), operation_id="result",
        response_description="the file as it stands",
    )  # fmt: skip
    def result(id: str) -> Job:
        """How far a file is, and its verdict when it is done."""
        return _answer(jobs, _item(jobs, id))

    @app.delete(
        "/v1/scan/{id}", status_code=204, responses=problems(400, 403, 404, 507), operation_id="remove",
        response_description="forgotten",
    )  # fmt: skip
    def remove(id: str) -> Response:
        """Forget a file: its result, its pictures, its upload; a scan in work is broken off."""
        _item(jobs, id)
        jobs.remove(id)
        return Response(status_code=204)

    @app.get(
        "/v1/scan/{id}/evidence/{name}", response_class=FileResponse, operation_id="evidence",
        responses={200: {"content": {"image/png": {}}, "description": "the picture"}, **problems(400, 404, 507)},
    )  # fmt: skip
    def evidence(id: str, name: str) -> FileResponse:
        """A picture that the scan names: a face as it was scored, or its saliency map."""
        item = _item(jobs, id)
        # Only what the scan names is given out, so no name leads anywhere else.
        if name not in _pictures(item) or not (path := jobs.folder(item) / name).is_file():
            raise Refused(404, "this scan has no such picture; the names stand in its tracks")
        return FileResponse(path, media_type="image/png")

    @app.get(
        "/v1/health", response_model=Health, responses=problems(400, 507), operation_id="health",
        response_description="the service as it stands",
    )  # fmt: skip
    def health() -> Health:
        """Who answers, and how busy it is."""
        counts = jobs.ledger.counts()
        trouble = next((s.trouble for s in crew if s.trouble), "ok")
        return Health(
            status=trouble, version=__version__, detector=about, queued=counts["queued"], running=counts["running"],
            limits=limits,
        )  # fmt: skip


def _facts(settings: Settings, about: About) -> dict[str, Any]:
    """What makes two results comparable; another detector or option needs another data folder."""
    return {
        "kind": "service", "detector": about.name, "digest": about.digest, "calibration": about.calibration,
        "options": settings.options.facts(), "unfooled": __version__, "schema": SCHEMA_VERSION,
    }  # fmt: skip


def _item(jobs: Jobs, key: str) -> Item:
    item = jobs.ledger.get(key)
    if item is None:
        raise Refused(404, "no file has this id; it was never given out, or removed")
    return item


def _answer(jobs: Jobs, item: Item) -> Job:
    return job_of(item, jobs.ledger.ahead(item.key) if item.state == "queued" else 0)


def _pictures(item: Item) -> set[str]:
    scan = job_of(item, 0).scan
    telling = [t for track in scan.tracks for t in track.telling] if scan else []
    return {name for t in telling for name in (t.crop, t.saliency) if name and "/" not in name}


async def _named(request: Request, settings: Settings) -> Upload:
    """The file that a JSON body names, if it lies below the root."""
    body = await small_body(request, patience=settings.patience)
    if settings.root is None:
        raise Refused(403, "scanning a path is not enabled; upload the file, or start the service with --root")
    try:
        named = Named.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Refused(422, f'{place}: {first["msg"]}; send {{"path": "folder/file.mp4"}}') from None
    return await run_in_threadpool(_below, settings.root, named.path)


def _below(root: Path, name: str) -> Upload:
    # One answer for all that is not below the root, there or not: it tells nothing of the rest of the machine.
    absent = Refused(404, "there is no such file below the root")
    root = root.resolve()
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise absent
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Upload(path, shown_name(name), digest, file.tell())
    except (OSError, ValueError, RuntimeError):
        raise absent from None


def _catch(app: FastAPI) -> None:
    """Every error leaves as one line of JSON."""

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": error.text}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        routes = [r for r in app.routes if isinstance(r, Route) and r.path_regex.match(request.url.path)]
        if error.status_code == 405 and routes:
            # The framework knows but the first route of a path.
            headers["Allow"] = ", ".join(sorted({method for r in routes for method in r.methods or ()}))
        return JSONResponse({"error": str(error.detail).lower()}, error.status_code, headers)

    @app.exception_handler(OSError)
    def disk(request: Request, error: OSError) -> JSONResponse:
        if not is_disk_full(error):
            raise error
        return JSONResponse({"error": DISK_FULL}, 507)

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "a fault of unfooled; its log says more"}, 500)
