"""Bundles: a job that was done with no server, packed into one file that a site can take over as data.

A bundle is a plain .tar whose first entry, `bundle.json`, lists every other entry with size and sha256:

    bundle.json   spec.json   result.json   events.jsonl   files/<each output file of the result>

It is written by the person who ran the job and read by a site that trusts nobody: reading takes ordinary files only, in the order of the
list, counts and hashes what it writes, and parses JSON. Nothing is executed or unpickled, and no numerical library is loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import platform
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, Literal, cast

from pydantic import Field

from detection_core.schemas.accuracy_files import FILES as PAGE_FILES
from detection_core.schemas.accuracy_files import check_file
from detection_core.schemas.base import InvalidInput, Schema
from detection_core.schemas.events import Event
from detection_core.schemas.files import InputFile, OutputFile, Sha256
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.results import (
    Audit,
    BenchmarkResult,
    EvaluateResult,
    JobResult,
    LatencySummary,
    ScoreResult,
    TrainResult,
    parse_result,
)
from detection_core.schemas.specs import BenchmarkSpec, EvaluateSpec, JobSpec, input_fields, parse_spec

# Bundles of an export are read only so far that the refusal can say what to do instead.
BundleKind = Literal["train", "export", "evaluate", "score", "benchmark"]
# The files that a job of a kind may bring, and those that it must.
ROLES: dict[str, tuple[str, ...]] = {
    "train": ("checkpoint_best", "checkpoint_last"),
    "evaluate": ("detections", "curves", "examples"),
    "score": ("detections", "curves", "examples"),
    "benchmark": ("samples",),
}
REQUIRED: dict[str, tuple[str, ...]] = {"train": ("checkpoint_best", "checkpoint_last")}
INDEX, SPEC, RESULT, EVENTS, FILES = "bundle.json", "spec.json", "result.json", "events.jsonl", "files/"
MAX_BYTES = 4 << 30
MAX_JSON: dict[str, int] = {INDEX: 1 << 20, SPEC: 1 << 20, RESULT: 32 << 20, EVENTS: 64 << 20}
# What a packed output may unpack to: pages read the first two whole.
MAX_UNPACKED: dict[str, int] = {"curves": 16 << 20, "examples": 64 << 20, "detections": 1 << 30, "samples": 1 << 30}
MAX_EVENTS = 100_000
MAX_WEIGHTS_HEADER = 16 << 20
MANIFEST_KEY = "paretobox_manifest"  # as in detection_core.build, which loads PyTorch
SAME = ("backend", "split", "scenario", "duration", "threads", "batch")
CHUNK = 1 << 20
FPS_WITHIN = 0.01  # of 1000 / mean, which it is
ROUNDING = 1e-9
NO_EXPORTS = (
    "an export is not taken over as a bundle, for nobody could tell whether the file is its checkpoint's; "
    "bring the training's bundle and queue the export on the site, or import the file as a model of its own"
)
REMEDY = "make it anew with `python -m detection_core bundle`"


class BundleFile(Schema):
    """One entry of a bundle, by its name in the .tar."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", max_length=100)]
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class BundleIndex(Schema):
    """The list of a bundle's entries, in their order; `host` is where the bundle was made, `version` that of this library."""

    bundle_version: Literal[1] = 1
    kind: BundleKind
    host: Annotated[str, Field(min_length=1, max_length=200)]
    version: Annotated[str, Field(max_length=50)]
    files: Annotated[tuple[BundleFile, ...], Field(min_length=3, max_length=16)]

    @property
    def key(self) -> str:
        """Return the hash of everything in the bundle, 64 hex digits: equal contents have equal keys."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class BundledFile:
    """An output of a bundled job: where its checked bytes lie, and what the job called it."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked; `outputs` by role."""

    index: BundleIndex
    spec: JobSpec
    result: JobResult
    events: tuple[Event, ...]
    outputs: dict[str, BundledFile]

    @property
    def machine(self) -> str:
        """Name the machine of the measurement, or of the bundle where the result names none."""
        environment = getattr(self.result, "environment", None)
        return f"{environment.hostname}: {environment.device_name or environment.cpu}" if environment else self.index.host


def write_bundle(folder: Path, target: Path, *, spec_path: Path | None = None) -> BundleIndex:
    """Pack the job's folder into `target`, which appears by rename; equal folders give equal bytes.

    Args:
        folder: what `run --out` or another command left: result.json, events.jsonl and the output files.
        spec_path: the spec that was run; `folder`/spec.json by default. Addresses and paths in it are left out.

    Raises:
        InvalidInput: there is no result, it is not of this spec, or a file is missing or has changed since.
    """
    result = parse_result(_read_json(folder / RESULT, "run the job first, then give its --out folder"))
    spec = parse_spec(_read_json(spec_path or folder / SPEC, "give the spec that was run with --spec"))
    _agree(spec, result)
    _roles_checked(result)
    spec = _portable(spec, result)
    events = folder / EVENTS
    contents: list[tuple[str, Path | bytes]] = [
        (SPEC, (spec.to_json() + "\n").encode()),
        (RESULT, folder / RESULT),
        (EVENTS, events if events.is_file() else b""),
        *((FILES + file.path, _unchanged(folder / file.path, file)) for file in result.files),
    ]
    listed = tuple(BundleFile.parse({"path": name, **_measured(content)}) for name, content in contents)
    index = BundleIndex.parse({"kind": spec.kind, "host": platform.node() or "unnamed", "version": _version(), "files": listed})
    part = target.with_name(target.name + ".part")
    try:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, INDEX, (index.to_json() + "\n").encode())
            for name, content in contents:
                _add(tar, name, content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return index


def read_bundle(path: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> Bundle:
    """Check the bundle at `path` and write its entries into `folder`, which is there and empty, under names of our own.

    Raises:
        InvalidInput: anything in it is not as it must be; one sentence names the entry and the remedy.
    """
    with path.open("rb") as stream:
        index = _read_index(stream, folder)
        if sum(file.size for file in index.files) > max_bytes:
            raise InvalidInput(f"the bundle unpacks to more than {max_bytes:,} bytes; bundle a smaller job")
        for place, file in enumerate(index.files):
            _read_entry(stream, file, folder / f"{place:02}")
        if _next_entry(stream) is not None:
            raise InvalidInput(f"the bundle holds an entry that its {INDEX} does not list; {REMEDY}")
    places = {file.path: folder / f"{place:02}" for place, file in enumerate(index.files)}
    spec, result = parse_spec(_json(places[SPEC].read_bytes(), SPEC)), parse_result(_json(places[RESULT].read_bytes(), RESULT))
    if not index.kind == spec.kind == result.kind:
        raise InvalidInput(f"the bundle says {index.kind}, its spec {spec.kind} and its result {result.kind}; {REMEDY}")
    _agree(spec, result)
    _roles_checked(result)
    return Bundle(index=index, spec=spec, result=result, events=tuple(_events(places)), outputs=_outputs(index, result, places))


def _version() -> str:
    try:
        return metadata.version("paretobox")
    except metadata.PackageNotFoundError:
        return "from source"


# writing


def _read_json(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON ({error}); {remedy}") from None


def _portable(spec: JobSpec, result: JobResult) -> JobSpec:
    """The spec without the paths and addresses of this machine; files are named by what they hold, where that is known."""
    changes: dict[str, Any] = {"resume": None} if isinstance(getattr(spec, "resume", None), InputFile) else {}
    for field, file in input_fields(spec).items():
        if field not in changes:
            name = (file.name or Path(file.ref or "").name)[:200]
            changes[field] = InputFile(sha256=file.sha256 or _known_hash(field, file, result), name=name)
    return cast(JobSpec, spec.model_copy(update=changes))


def _known_hash(field: str, file: InputFile, result: JobResult) -> str | None:
    if field == "artifact":
        return cast(str, getattr(result, "artifact_sha256", None))
    path = Path(file.ref).expanduser() if file.ref else None
    return cast(str, _measured(path)["sha256"]) if path is not None and path.is_file() else None


def _unchanged(path: Path, file: OutputFile) -> Path:
    if not path.is_file():
        raise InvalidInput(f"the folder holds no {file.path}, which the result lists; run the job again, or give the right folder")
    if _measured(path) != {"sha256": file.sha256, "size": file.size}:
        raise InvalidInput(f"{file.path} is not the file that the result lists (another hash); run the job again")
    return path


def _measured(content: Path | bytes) -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with content.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": content.stat().st_size}


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: equal folders give equal bytes
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        tar.addfile(info, file)


# reading


def _next_entry(stream: BinaryIO) -> tuple[str, int] | None:
    """Read one header: name and size of an ordinary file, None at the end. Extensions of the format are refused, not interpreted."""
    block = stream.read(tarfile.BLOCKSIZE)
    if block == bytes(tarfile.BLOCKSIZE):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError):
        raise InvalidInput(f"this is no bundle, or one that is cut short; {REMEDY}, and send it whole") from None
    if info.type != tarfile.REGTYPE or info.size < 0:
        raise InvalidInput(f"the bundle's entry {info.name[:100]!r} is a link, a folder or something else than a file; {REMEDY}")
    return info.name, info.size


def _read_index(stream: BinaryIO, folder: Path) -> BundleIndex:
    entry = _next_entry(stream)
    if entry is None or entry[0] != INDEX:
        raise InvalidInput(f"the first entry is not {INDEX}, so this is no bundle; {REMEDY}")
    if entry[1] > MAX_JSON[INDEX]:
        raise InvalidInput(f"{INDEX} is larger than {MAX_JSON[INDEX]:,} bytes; {REMEDY}")
    _copy(stream, entry[1], folder / INDEX, INDEX)
    index = BundleIndex.parse(_json((folder / INDEX).read_bytes(), INDEX))
    names = [file.path for file in index.files]
    if names[:3] != [SPEC, RESULT, EVENTS] or any(not name.startswith(FILES) for name in names[3:]):
        raise InvalidInput(f"{INDEX} does not list {SPEC}, {RESULT}, {EVENTS} and then the files; {REMEDY}")
    if len(set(names)) != len(names):
        raise InvalidInput(f"{INDEX} lists a file twice; {REMEDY}")
    return index


def _read_entry(stream: BinaryIO, file: BundleFile, target: Path) -> None:
    entry = _next_entry(stream)
    if entry is None or entry[0] != file.path:
        found = "nothing" if entry is None else repr(entry[0][:100])
        raise InvalidInput(f"the bundle holds {found} where its {INDEX} lists '{file.path}'; {REMEDY}")
    if entry[1] != file.size:
        raise InvalidInput(f"'{file.path}' has {entry[1]:,} bytes and {INDEX} says {file.size:,}; {REMEDY}")
    if file.size > MAX_JSON.get(file.path, MAX_BYTES):
        raise InvalidInput(f"'{file.path}' is larger than {MAX_JSON[file.path]:,} bytes; bundle a smaller job")
    if _copy(stream, file.size, target, file.path) != file.sha256:
        raise InvalidInput(f"'{file.path}' has another sha256 than {INDEX} says; {REMEDY}, and send it whole")


def _copy(stream: BinaryIO, size: int, target: Path, name: str) -> str:
    digest, left = hashlib.sha256(), size
    with target.open("xb") as out:
        while left:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                raise InvalidInput(f"the bundle ends within '{name}'; send it again, whole")
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    stream.read(-size % tarfile.BLOCKSIZE)
    return digest.hexdigest()


def _json(text: bytes, name: str) -> Any:
    """Parse JSON whose every text and number a database can store; fields of no fixed shape are checked by nothing else."""
    try:
        data = json.loads(text)
        _storable(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'{name}' is not JSON as it must be ({error}); {REMEDY}") from None
    return data


def _storable(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _storable(key)
            _storable(item)
    elif isinstance(value, list):
        for item in value:
            _storable(item)
    elif isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a text holds a NUL character")
        value.encode()  # UnicodeEncodeError, a ValueError, for half a character
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("a number has more than 64 bits")


def _events(places: Mapping[str, Path]) -> Iterator[Event]:
    with places[EVENTS].open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number > MAX_EVENTS:
                raise InvalidInput(f"{EVENTS} holds more than {MAX_EVENTS:,} events; bundle a shorter job")
            yield Event.parse(_json(line, EVENTS))


def _outputs(index: BundleIndex, result: JobResult, places: Mapping[str, Path]) -> dict[str, BundledFile]:
    listed = {file.path: file for file in index.files}
    outputs: dict[str, BundledFile] = {}
    for file in result.files:
        entry = listed.pop(FILES + file.path, None)
        if entry is None or (entry.sha256, entry.size) != (file.sha256, file.size):
            raise InvalidInput(f"the result lists '{file.path}', which the bundle lacks or has with another hash; {REMEDY}")
        outputs[file.role] = BundledFile(path=places[entry.path], name=PurePosixPath(file.path).name, sha256=file.sha256)
    if extra := sorted(set(listed) - {SPEC, RESULT, EVENTS}):
        raise InvalidInput(f"the bundle holds '{extra[0]}', which its result does not list; {REMEDY}")
    for role, output in outputs.items():
        if role in MAX_UNPACKED:
            _unpacks_within(output, MAX_UNPACKED[role])
        if role in PAGE_FILES:
            bootstrap = cast(EvaluateResult | ScoreResult, result).accuracy.bootstrap
            check_file(role, gzip.decompress(output.path.read_bytes()), name=output.name, bootstrap=bootstrap)
    if isinstance(result, TrainResult):
        for role in REQUIRED["train"]:
            _weights_checked(outputs[role], result)
    return outputs


# What both sides hold a job to.


def _agree(spec: JobSpec, result: JobResult) -> None:
    """Refuse a result that is not one of this spec; numbers of a protocol that pages show have to be numbers."""
    if spec.kind == "export":
        raise InvalidInput(NO_EXPORTS)
    if spec.kind not in ROLES:
        raise InvalidInput(f"a job of kind {spec.kind} is not bundled; bundle one of {', '.join(ROLES)}")
    if spec.kind != result.kind:
        raise InvalidInput(f"the spec is of kind {spec.kind} and the result of kind {result.kind}; give the spec that was run")
    for name in SAME:
        asked, found = getattr(spec, name, None), getattr(result, name, None)
        if asked is not None and found is not None and asked != found:
            raise InvalidInput(f"the result is not one of this spec: {name} is {found!r} there, {asked!r} here; give the spec that was run")
    if isinstance(spec, EvaluateSpec | BenchmarkSpec):
        _measurement_agrees(spec, cast(EvaluateResult | BenchmarkResult, result))
    if isinstance(result, EvaluateResult | ScoreResult) and result.audit.images != Audit.images_of(result.images):
        seen = Audit.images_of(result.images)
        raise InvalidInput(
            f"the result's audit saw {result.audit.images:,} images, and of {result.images:,} it has to see {seen:,}; evaluate again"
        )
    environment = getattr(result, "environment", None)
    limits = (environment.details.get("limits") if environment else None) or {}
    if not isinstance(limits, dict) or not all(isinstance(value, int | float) for value in limits.values()):
        raise InvalidInput("the result's environment has limits that are no numbers; measure again")


def _measurement_agrees(spec: EvaluateSpec | BenchmarkSpec, result: EvaluateResult | BenchmarkResult) -> None:
    if spec.artifact.sha256 not in (None, result.artifact_sha256):
        raise InvalidInput("the result is of another model file than the spec names; give the spec that was run")
    if result.protocol.get("score_thresh") != spec.score_thresh:
        raise InvalidInput("the result's protocol has another score_thresh than the spec; give the spec that was run")
    if not isinstance(result.protocol.get("seed", 0), int):
        raise InvalidInput("the result's protocol has a seed that is no whole number; measure again")
    if isinstance(result, BenchmarkResult):
        _latencies_checked(result)


def _latencies_checked(result: BenchmarkResult) -> None:
    """Refuse figures that no list of samples has."""
    for name, summary in {"latency_ms": result.latency_ms, **result.stages_ms}.items():
        if wrong := _impossible(summary):
            raise InvalidInput(f"the result's {name} holds latencies that cannot be ({wrong}); measure again")
    if result.latency_ms.p50 <= 0:
        raise InvalidInput("the result's latency_ms holds latencies that cannot be (a median of nothing); measure again")
    expected = 1000 / result.latency_ms.mean
    if not abs(result.fps - expected) <= FPS_WITHIN * expected:
        raise InvalidInput(f"the result's fps is {result.fps:g}, and its mean latency gives {expected:g}; measure again")


def _impossible(summary: LatencySummary) -> str:
    """Say what is wrong with a summary; empty where nothing is."""
    found = summary.to_dict()
    numbers = [found[name] for name in ("min", "p50", "p90", "p95", "p99", "max") if found[name] is not None]
    intervals = [bounds for bounds in (summary.p50_ci, summary.p95_ci) if bounds is not None]
    if numbers[0] < 0 or numbers != sorted(numbers):
        return "negative, or percentiles out of order between the least and the greatest"
    slack = ROUNDING * summary.max  # a mean of equal samples may lie a rounding beside them
    if not summary.min - slack <= summary.mean <= summary.max + slack or summary.sd < 0:
        return "a mean outside of the least and the greatest, or a negative deviation"
    if any(low > high for low, high in intervals):
        return "an interval whose low end lies above its high end"
    return ""


def _roles_checked(result: JobResult) -> None:
    found = [file.role for file in result.files]
    if strange := sorted(set(found) - set(ROLES[result.kind])):
        raise InvalidInput(f"a result of kind {result.kind} brings no file of the role '{strange[0]}'; {REMEDY}")
    if missing := sorted(set(REQUIRED.get(result.kind, ())) - set(found)):
        raise InvalidInput(f"the result lists no file of the role '{missing[0]}'; run the job again")
    if len(set(found)) != len(found):
        raise InvalidInput(f"the result lists two files of one role; {REMEDY}")
    made = {file.role: file.sha256 for file in result.files}
    if isinstance(result, TrainResult) and (made["checkpoint_best"], made["checkpoint_last"]) != (result.best.sha256, result.last.sha256):
        raise InvalidInput(f"the result's checkpoints are not the files that it lists; {REMEDY}")


def _unpacks_within(file: BundledFile, most: int) -> None:
    left = most
    try:
        with gzip.open(file.path) as packed:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InvalidInput(f"'{file.name}' unpacks to more than {most:,} bytes; bundle a smaller job")
    except (OSError, EOFError, zlib.error):
        raise InvalidInput(f"'{file.name}' is not packed with gzip, or damaged; run the job again") from None


def _weights_checked(file: BundledFile, result: TrainResult) -> None:
    """Refuse weights that are no safetensors file (a pickle, for instance), or whose manifest is not the result's."""
    with file.path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        header = stream.read(length) if 0 < length <= MAX_WEIGHTS_HEADER else b""
    try:
        same = Manifest.parse(json.loads(header)["__metadata__"][MANIFEST_KEY]) == result.manifest
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput(f"'{file.name}' is no .safetensors file with a manifest; only such weights are taken") from None
    if not same:
        raise InvalidInput(f"the manifest in '{file.name}' is not the one of the result; {REMEDY}")
