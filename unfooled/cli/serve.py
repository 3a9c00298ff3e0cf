"""``unfooled serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unfooled.cli.progress import notes, say
from unfooled.errors import ConfigError

EXTRA = ("fastapi", "starlette", "uvicorn", "python_multipart")


def serve(
    detector: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder or checkpoint. Default: the small one inside.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    data: Annotated[
        Path, typer.Option(help="Folder of ledger, evidence and uploads; a restart goes on from it.")
    ] = Path("unfooled-serve"),
    root: Annotated[
        Path | None, typer.Option(help="Files below it may be scanned by path. Default: uploads only.")
    ] = None,
    max_upload: Annotated[str, typer.Option(metavar="SIZE", help="Of one file.")] = "500MB",
    max_seconds: Annotated[float | None, typer.Option(help="Of one video.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Of one picture.")] = None,
    queue: Annotated[int, typer.Option(help="Files that may wait; beyond it 429.")] = 100,
    timeout: Annotated[float, typer.Option(help="Seconds for one file; its process is then killed.")] = 900.0,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="For one file, beyond the model; 0: no limit. Linux only.")
    ] = "4GB",
    workers: Annotated[int, typer.Option(help="Files scanned at once, each with its own model.")] = 1,
    margin: Annotated[str | None, typer.Option(help="apgd (default), or off for speed.")] = None,
    rule: Annotated[str | None, typer.Option(help="Which face speaks for a file: max (default) or largest.")] = None,
    every: Annotated[int | None, typer.Option(help="Look for faces in every so many-th frame.")] = None,
    face_detector: Annotated[
        str | None, typer.Option(metavar="haar|yunet|FILE.onnx", help="What finds the faces. Default: haar.")
    ] = None,
    keep_uploads: Annotated[bool, typer.Option("--keep-uploads", help="Leave uploads in the data folder.")] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen where other machines reach it; there is no password.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A Host name to answer to, as behind a proxy.")
    ] = None,
) -> None:
    """Serve scans on a page and over HTTP: drop a file, watch the verdict form.

    The page is at the address itself, the interface described at /docs.html and /openapi.json. Uploads are deleted
    after the result. Stopped or killed at any moment, the same command goes on with what was queued.

    ```
    unfooled serve --detector runs/afsl
    unfooled serve --detector runs/afsl --port 9000 --data /srv/unfooled --root /srv/videos --queue 20
    curl -F file=@talk.mp4 http://127.0.0.1:8000/v1/scan
    ```
    """
    try:
        from unfooled.scanning.options import ScanOptions
        from unfooled.service.serving import serve as serve_until_stopped
        from unfooled.service.settings import Settings, to_bytes
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"the service needs {error.name}; pip install 'unfooled[serve]'") from None
    given: dict[str, Any] = {
        "max_seconds": max_seconds, "max_pixels": max_pixels, "margin": margin, "rule": rule, "every": every,
        "face_detector": face_detector,
    }  # fmt: skip
    settings = Settings(
        detector=detector, data=data, host=host, port=port, root=root, queue=queue, timeout=timeout,
        options=ScanOptions(**{name: value for name, value in given.items() if value is not None}),
        max_upload=to_bytes(max_upload), memory=to_bytes(memory), workers=workers, keep_uploads=keep_uploads,
        allow_remote=allow_remote, allow_hosts=tuple(allow_host or ()),
    )  # fmt: skip
    try:
        serve_until_stopped(settings, say, lambda text: notes.print(f"[bold]warning:[/bold] {text}", soft_wrap=True))
    except KeyboardInterrupt:
        say("stopped; what was queued goes on with the same command")
