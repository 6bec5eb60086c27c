"""A client of the Paretobox API."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

import httpx

CHUNK = 1024 * 1024
FINAL = frozenset({"succeeded", "failed", "cancelled"})


class ClientError(Exception):
    """The server said no, or did not answer; the message is one sentence for a person."""


@dataclass(frozen=True)
class Record:
    """The base of what the client returns: known fields by name, the whole answer in `data`."""

    data: dict[str, Any]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Take the known fields out of an answer."""
        names = {item.name for item in fields(cls)} - {"data"}
        return cls(data=data, **{name: data.get(name) for name in names})


@dataclass(frozen=True)
class Job(Record):
    """A job as it stands."""

    uuid: str
    kind: str
    title: str
    state: str
    suite: str | None
    progress: dict[str, Any]
    failure_message: str
    waiting_because: str
    url: str

    @property
    def final(self) -> bool:
        """Say whether nothing more will happen to it."""
        return self.state in FINAL


@dataclass(frozen=True)
class Suite(Record):
    """Jobs submitted together."""

    uuid: str
    name: str
    url: str

    @property
    def jobs(self) -> list[Job]:
        """Return its jobs in the order of submission."""
        return [Job.of(item) for item in self.data["jobs"]]


@dataclass(frozen=True)
class Result(Record):
    """One row of the board."""

    uuid: str
    model: str
    backend: str
    dtype: str
    dataset: str
    split: str
    environment: str
    ap: float | None
    ap50: float | None
    p50_ms: float | None
    p95_ms: float | None
    fps: float | None
    flags: list[str]
    on_front: bool
    complete: bool
    checkpoint: str | None
    created_at: str
    url: str


@dataclass(frozen=True)
class Checkpoint(Record):
    """A training's best or last weights."""

    uuid: str
    role: str
    model: str
    sha256: str
    size: int
    name: str


@dataclass(frozen=True)
class Access:
    """Where the site is and how to act on it."""

    url: str
    token: str

    @classmethod
    def load(cls, path: Path | None = None) -> Access:
        """Read PARETOBOX_URL and PARETOBOX_TOKEN, else an access.json: the given one, the login's, or that of a local stack.

        Raises:
            ClientError: there is none.
        """
        if path is None and os.environ.get("PARETOBOX_URL"):
            return cls(url=os.environ["PARETOBOX_URL"], token=os.environ.get("PARETOBOX_TOKEN", ""))
        places = [path] if path else [login_file(), Path(os.environ.get("PARETOBOX_HOME") or ".paretobox") / "access.json"]
        for place in places:
            if place.is_file():
                try:
                    data = json.loads(place.read_text())
                    return cls(url=data["url"], token=data["token"])
                except (ValueError, KeyError):
                    raise ClientError(f"{place} is not an access file; delete it and run `paretobox login` again") from None
        raise ClientError("no site is known; run `paretobox login --url URL`, or start one here with `make up`")


def login_file() -> Path:
    """Return where `paretobox login` keeps what it was told."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "paretobox" / "access.json"


class Client:
    """Every action of the site, in Python."""

    def __init__(self, access: Access, *, timeout_s: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        self.access = access
        self._http = httpx.Client(base_url=access.url.rstrip("/") + "/api/v1", headers=headers, timeout=timeout_s, follow_redirects=True)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Send one request and return the JSON answer; a server that restarts is waited for where the call changes nothing."""
        tries = 5 if method == "GET" else 1
        for left in reversed(range(tries)):
            try:
                response = self._http.request(method, path, **options)
                break
            except httpx.TransportError as error:
                if left == 0:
                    raise ClientError(f"{self.access.url} does not answer ({type(error).__name__}); is the site up?") from None
                time.sleep(1.5)
        if response.status_code >= 400:
            raise ClientError(_sentence(response))
        return response.json() if "json" in response.headers.get("content-type", "") else response.text

    def models(self) -> list[dict[str, Any]]:
        """List the catalogue."""
        return self.call("GET", "/models")

    def datasets(self, name: str = "") -> list[dict[str, Any]]:
        """List data sets with their versions, the newest first."""
        return self.call("GET", "/datasets", params={"name": name} if name else {})

    def upload(self, path: Path, *, on_progress: Callable[[int], None] | None = None) -> dict[str, Any]:
        """Stream a file to the site; returns its sha256, size and name."""

        def chunks() -> Iterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
                    if on_progress:
                        on_progress(len(chunk))

        if not path.is_file():
            raise ClientError(f"{path} is not a file; correct the path")
        headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
        return self.call("POST", "/uploads", params={"name": path.name}, content=chunks(), headers=headers, timeout=3600)

    def submit_job(self, spec: dict[str, Any], *, lane: str = "cpu", title: str = "", key: str | None = None) -> Job:
        """Queue one job."""
        body = {"spec": spec, "lane": lane, "title": title}
        return Job.of(self.call("POST", "/jobs", json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())}))

    def submit_pipeline(self, request: dict[str, Any], *, key: str | None = None) -> Suite:
        """Queue the pipeline for several models."""
        return Suite.of(self.call("POST", "/suites", json=request, headers={"Idempotency-Key": key or str(uuid.uuid4())}))

    def studies(self) -> list[dict[str, Any]]:
        """List the studies."""
        return self.call("GET", "/studies")

    def study(self, name: str, *, suite: str | None = None) -> dict[str, Any]:
        """Show a study with what its newest complete run (or that of `suite`) has found."""
        return self.call("GET", f"/studies/{name}", params={"suite": suite} if suite else {})

    def submit_study(self, name: str, request: dict[str, Any], *, key: str | None = None) -> Suite:
        """Queue a run of a study; `request` holds data set, epochs or minutes, seeds and lane."""
        return Suite.of(self.call("POST", f"/studies/{name}", json=request, headers={"Idempotency-Key": key or str(uuid.uuid4())}))

    def import_dataset(
        self,
        name: str,
        *,
        ref: str | None = None,
        path: Path | None = None,
        class_names: list[str] | None = None,
        edits: dict[str, Any] | None = None,
        licence: str = "",
        source: str = "",
        preview: bool = False,
        form: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Job:
        """Import a data set of the catalogue or a folder of the server by `ref`, or upload and import `path` (.zip or .tar).

        Args:
            edits: changes before the version is frozen: `rename`, `drop`, `split` as DatasetEdits has them.
            licence: of the data; `source` says who made it.
            preview: make a preview to look at; `freeze` freezes it.
            form: `coco`, `yolo` or `voc`, where the files hold annotations in two forms.
        """
        file: dict[str, Any] = {"ref": ref, "name": ref} if ref else {}
        if path is not None:
            stored = self.upload(path, on_progress=on_progress)
            file = {"sha256": stored["sha256"], "name": stored["name"]}
        spec = {"kind": "import", "source": file, "name": name, "class_names": class_names}
        told = {"edits": edits, "licence": licence, "origin": source, "preview": preview, "options": {"form": form} if form else {}}
        return self.submit_job({**spec, **{field: value for field, value in told.items() if value}}, title=name)

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        """Show a data set with what was found in each version: report, statistics, leaks, edits."""
        return self.call("GET", f"/datasets/{dataset_id}")

    def dataset_version(self, name: str, *, number: int | None = None, frozen: bool = True) -> dict[str, Any]:
        """Return a version of the data set `name`: the newest that jobs may use, the newest of all (`frozen=False`), or `number`."""
        known = self.datasets(name)
        if not known:
            raise ClientError(f"the site has no data set '{name}'; import it, or correct the name")
        versions = known[0]["versions"]
        fitting = [row for row in versions if number in (None, row["number"]) and (row["frozen"] or number is not None or not frozen)]
        if fitting:
            return fitting[0]
        if number is not None:
            raise ClientError(f"'{name}' has no version {number}; it has {', '.join(str(row['number']) for row in versions)}")
        raise ClientError(f"'{name}' has only a preview; look at it and freeze it: {known[0]['url']}, or `paretobox freeze {name}`")

    def freeze(
        self, version_id: str, *, edits: dict[str, Any] | None = None, licence: str = "", source: str = "", key: str | None = None
    ) -> dict[str, Any]:
        """Freeze a preview: at once, or with `edits` by a job (`job` of the answer) that makes the changed version."""
        body = {"edits": edits or {}, "licence": licence, "source": source}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self.call("POST", f"/datasets/versions/{version_id}/freeze", json=body, headers=headers)

    def export_dataset(self, version_id: str, form: str, target: Path, *, on_progress: Callable[[int], None] | None = None) -> Path:
        """Download a version as a .tar in the form `coco`, `yolo` or `voc`; the file appears when all of it is there."""
        part = target.with_name(target.name + ".part")
        try:
            with self._http.stream("GET", f"/datasets/versions/{version_id}/export", params={"form": form}) as response:
                if response.status_code >= 400:
                    response.read()
                    raise ClientError(_sentence(response))
                with part.open("wb") as file:
                    for chunk in response.iter_bytes(CHUNK):
                        file.write(chunk)
                        if on_progress:
                            on_progress(len(chunk))
            part.replace(target)
        except httpx.TransportError as error:
            raise ClientError(f"the download of {target.name} broke off ({type(error).__name__}); try again") from None
        finally:
            part.unlink(missing_ok=True)
        return target

    def import_model(self, path: Path, *, layout: str, name: str, classes: list[str], dataset: str = "", **options: Any) -> Suite:
        """Upload a model file and import it; with `dataset` it is evaluated and timed there, too.

        `options` are `split`, `duration` and `lane`, and further fields of the spec such as `class_map`, `input_height` or `licence`.
        """
        stored = self.upload(path)
        told: dict[str, Any] = {key: options.pop(key) for key in ("split", "duration", "lane") if key in options}
        spec = {"file": {"sha256": stored["sha256"], "name": path.name}, "layout": layout, "name": name, "classes": classes, **options}
        body = {"spec": spec, "dataset": dataset, **told}
        return Suite.of(self.call("POST", "/models/import", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}))

    def score(
        self,
        path: Path,
        *,
        dataset: str = "",
        split: str = "test",
        ground_truth: Path | None = None,
        ids: str | None = None,
        name: str = "",
    ) -> Job:
        """Upload a COCO results file and score it on a split of a data set of the site, or against a COCO file.

        Args:
            ids: whose ids the file uses: "source", the annotations that the data set was read from, or "export", its COCO export.
        """
        body: dict[str, Any] = {"sha256": self.upload(path)["sha256"], "dataset": dataset, "split": split, "name": name or path.name}
        if ids is not None:
            body["ids"] = ids
        if ground_truth is not None:
            body["ground_truth_sha256"] = self.upload(ground_truth)["sha256"]
        return Job.of(self.call("POST", "/predictions", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}))

    def bring_bundle(self, path: Path) -> Job:
        """Upload a bundle of a job that ran with no server; returns its job, the same one for the same bundle."""
        return Job.of(self.call("POST", "/bundles", json={"sha256": self.upload(path)["sha256"]}, timeout=600))

    def job(self, job_id: str) -> Job:
        """Show one job."""
        return Job.of(self.call("GET", f"/jobs/{job_id}"))

    def jobs(self, **filters: Any) -> list[Job]:
        """List jobs, the newest first."""
        return [Job.of(item) for item in self.call("GET", "/jobs", params=filters)["items"]]

    def suite(self, suite_id: str) -> Suite:
        """Show a suite."""
        return Suite.of(self.call("GET", f"/suites/{suite_id}"))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        return Job.of(self.call("POST", f"/jobs/{job_id}/cancel"))

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again."""
        return Job.of(self.call("POST", f"/jobs/{job_id}/retry"))

    def wait(self, job_id: str, *, on_change: Callable[[Job], None] | None = None, every_s: float = 1.0) -> Job:
        """Wait until a job has ended."""
        while True:
            job = self.job(job_id)
            if on_change:
                on_change(job)
            if job.final:
                return job
            time.sleep(every_s)

    def results(self, **filters: Any) -> list[Result]:
        """List results; filters and sort as on the leaderboard."""
        return [Result.of(item) for item in self.call("GET", "/results", params=filters)["items"]]

    def frontier(self, **filters: Any) -> list[dict[str, Any]]:
        """List the groups with their points."""
        return self.call("GET", "/frontier", params=filters)

    def compare(self, result_ids: list[str], *, number: str = "ap") -> list[dict[str, Any]]:
        """Compare two to eight results pair by pair: first minus second, its 95% interval, p and the winner, if any."""
        return self.call("GET", "/comparisons", params={"results": ",".join(result_ids), "number": number})

    def checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Show one checkpoint."""
        return Checkpoint.of(self.call("GET", f"/checkpoints/{checkpoint_id}"))

    def download(self, sha256: str, target: Path, *, on_progress: Callable[[int], None] | None = None) -> Path:
        """Download stored bytes, going on where an earlier try stopped; the file appears only when its hash is right."""
        part = target.with_name(target.name + ".part")
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._http.stream("GET", f"/artifacts/{sha256}", headers=headers) as response:
            if response.status_code == 416:
                part.unlink()
                raise ClientError(f"{part.name} is longer than the file; it was removed, so try again")
            if response.status_code >= 400:
                response.read()
                raise ClientError(_sentence(response))
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                for chunk in response.iter_bytes(CHUNK):
                    file.write(chunk)
                    if on_progress:
                        on_progress(len(chunk))
        with part.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != sha256:
            part.unlink()
            raise ClientError(f"the bytes that came for {target.name} have another hash than {sha256[:12]}; try again")
        part.replace(target)
        return target


def _sentence(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the site answered {response.status_code} to {response.request.url.path}"
    if isinstance(detail, list):
        parts = [f"field '{'.'.join(str(step) for step in item['loc'][2:]) or item['loc'][-1]}': {item['msg']}" for item in detail]
        return "; ".join(parts)
    if response.status_code == 401:
        return "the site does not know this token; run `paretobox login`, or make a new one on your account page"
    return str(detail)
