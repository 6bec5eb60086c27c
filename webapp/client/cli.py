"""The `paretobox` command: submit, watch, read and download, from a terminal or a script.

Exit status: 0 done, 1 the server said no or a job failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from webapp.client.api import Access, Client, ClientError, Job, Result, Suite, login_file
from webapp.client.show import jobs_table, now_text, results_table, studies_table, study_table
from webapp.client.watch import watch_suite

console = Console(stderr=True)
SHA256_DIGITS = 64
LAYOUTS = ("yolox", "nanodet", "anchor_free", "end_to_end", "fastestdet")


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "login":
            return login(options)
        client = Client(Access.load(options.access))
        return COMMANDS[options.command](client, options)
    except ClientError as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paretobox", description="Queue jobs on a Paretobox site, read results, download checkpoints.")
    parser.add_argument("--access", type=Path, help="an access.json; else PARETOBOX_URL and PARETOBOX_TOKEN, the login, or .paretobox")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON document on standard output")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[common])

    item = command("login", "remember a site and a token")
    item.add_argument("--url", required=True)
    item.add_argument("--token", help="asked for when left out")
    item = command("submit", "queue the pipeline for models, or one job from a spec file")
    item.add_argument("--model", action="append", default=[], help="may be given several times")
    item.add_argument("--dataset", help="name of a data set on the site, or a built-in one")
    item.add_argument("--backend", action="append", default=[], choices=["eager", "onnxruntime"])
    item.add_argument("--minutes", type=float, help="longest training time of each model (default 4)")
    item.add_argument("--epochs", type=int)
    item.add_argument("--input-size", type=int)
    item.add_argument(
        "--weights", metavar="CHECKPOINT", help="id or sha256 of a checkpoint of the same family to start from; one model only"
    )
    item.add_argument("--seed", type=int, default=0)
    item.add_argument("--recipe", type=Path, metavar="FILE", help="further fields of a recipe as JSON: augmentation, schedule, loss, neck")
    item.add_argument("--duration", choices=["quick", "standard", "full"], default="quick")
    item.add_argument("--split", choices=["val", "test"], default="test")
    item.add_argument("--lane", default="cpu")
    item.add_argument("--spec", type=Path, help="a job spec instead of models")
    item.add_argument("--key", help="idempotency key: the same key queues nothing twice")
    item.add_argument("--watch", action="store_true", help="wait until everything has ended")
    item = command("study", "list the studies, show what one has found, or queue a run of it")
    item.add_argument("name", nargs="?", help="of the study; without it they are listed")
    item.add_argument("--queue", action="store_true", help="queue a run instead of showing the outcome")
    item.add_argument("--dataset", help="name of a data set on the site, or a built-in one; not for a study that makes its own")
    item.add_argument("--epochs", type=int, help="of each training (default: the study's)")
    item.add_argument("--minutes", type=float, help="longest time of each training")
    item.add_argument("--seed", type=int, action="append", dest="seeds", help="may be given several times (default: the study's)")
    item.add_argument("--input-size", type=int)
    item.add_argument("--duration", choices=["quick", "standard", "full"], help="of the latency measurements, where the study has them")
    item.add_argument("--lane", default="cpu")
    item.add_argument("--key", help="idempotency key: the same key queues nothing twice")
    item.add_argument("--watch", action="store_true")
    item = command("import", "import a data set: a .zip or .tar, one of the catalogue, or a folder of the server")
    item.add_argument("source", help="a file, the name of a data set of the catalogue, or a folder that the server opened for import")
    item.add_argument("--name", help="the data set's name on the site")
    item.add_argument("--names", help="class names in order, comma separated, instead of those in the data")
    item.add_argument("--form", choices=["coco", "yolo", "voc"], help="which annotations, where the files hold them in two forms")
    item.add_argument("--preview", action="store_true", help="make a preview to look at on the site; freeze it there or with `freeze`")
    item.add_argument("--watch", action="store_true")
    _add_edits(item)
    item = command("freeze", "freeze a preview, or make a new version with changes")
    item.add_argument("name", help="the data set's name on the site")
    item.add_argument("--version", type=int, help="its number (default: the newest)")
    item.add_argument("--watch", action="store_true")
    _add_edits(item)
    item = command("import-model", "import a detector that was trained elsewhere: an .onnx file, or FastestDet's .pth")
    item.add_argument("file", type=Path)
    item.add_argument("--layout", required=True, choices=LAYOUTS, help="how its outputs are laid out")
    item.add_argument("--name", required=True, help="the model's name on the site")
    item.add_argument("--classes", type=Path, required=True, help="a file with the class names, one a line, in the order of the outputs")
    item.add_argument("--map", action="append", default=[], metavar="THEIRS=OURS", help="may be given several times")
    item.add_argument("--evaluate", default="", metavar="DATASET", help="evaluate and time it on this data set of the site")
    item.add_argument("--split", choices=["train", "val", "test"], default="test")
    item.add_argument("--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="by default as the graph says")
    item.add_argument("--licence", default="not told")
    item.add_argument("--lane", default="cpu")
    item.add_argument("--watch", action="store_true")
    item = command("score", "score a COCO results file; no model is run")
    item.add_argument("file", type=Path)
    item.add_argument("--dataset", default="", help="name of a data set of the site")
    item.add_argument("--split", choices=["train", "val", "test"], default="test")
    item.add_argument("--ground-truth", type=Path, help="a COCO file instead of a data set")
    item.add_argument("--ids", choices=["source", "export"], help="whose ids the file uses; by default as they tell themselves")
    item.add_argument("--name", default="", help="what made the detections")
    item.add_argument("--watch", action="store_true")
    item = command("bundle", "bring in a job that ran with no server (python -m detection_core bundle)")
    item.add_argument("file", type=Path)
    item = command("jobs", "list jobs")
    item.add_argument("--state", default="")
    item.add_argument("--kind", default="")
    item.add_argument("--suite", default=None)
    for name, about in (("watch", "follow a job or a suite to its end"), ("cancel", "cancel a job"), ("retry", "queue a job again")):
        command(name, about).add_argument("id")
    for name, about in (("results", "list results"), ("frontier", "show the fronts")):
        item = command(name, about)
        for option in ("suite", "dataset", "model", "family", "backend", "sort"):
            item.add_argument(f"--{option}")
    item = command("download", "download a checkpoint by its id, any stored file by its sha256, or a data set by its name")
    item.add_argument("id", nargs="?")
    item.add_argument("--dataset", help="a data set instead of an id")
    item.add_argument("--version", type=int, help="of the data set (default: the newest frozen one)")
    item.add_argument("--form", choices=["coco", "yolo", "voc"], help="of the data set (default: the canonical .tar)")
    item.add_argument("--out", type=Path, help="file or folder (default: here)")
    return parser


def _add_edits(item: argparse.ArgumentParser) -> None:
    item.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="may be given several times; two can be exchanged")
    item.add_argument("--drop", action="append", default=[], metavar="CLASS", help="take the boxes of a class out; the images stay")
    item.add_argument("--split", type=split_rule, help="seed:VAL,TEST[,SEED], group:PATTERN or list:val=FILE,test=FILE (a name a line)")
    item.add_argument("--licence", default="", help="of the data")
    item.add_argument("--source", dest="origin", default="", help="who made the data, and where it is")


def split_rule(text: str) -> dict[str, Any]:
    """Read how images are to be divided anew, as SplitRule has it; argparse's error for what cannot be read."""
    kind, _, rest = text.partition(":")
    try:
        if kind == "seed":
            val, test, *seed = rest.split(",") if rest else ("0.15", "0.15")
            return {"by": "seed", "val": float(val), "test": float(test), "seed": int(seed[0]) if seed else 0}
        if kind == "group" and rest:
            return {"by": "group", "group_pattern": rest}
        if kind == "list" and rest:
            files = [part.partition("=") for part in rest.split(",")]
            return {"by": "list", "lists": {split: _lines(Path(path)) for split, _, path in files}}
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"'{text}' cannot be read ({error})") from None
    raise argparse.ArgumentTypeError(f"'{text}' is no rule; use seed:0.15,0.15 or group:PATTERN or list:val=FILE,test=FILE")


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClientError(f"{path} cannot be read ({error.strerror}); correct the path") from None
    except ValueError as error:
        raise ClientError(f"{path} is not JSON ({error}); correct the file") from None


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _edits(options: argparse.Namespace) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in options.rename]
    for old, sign, new in pairs:
        if not (old and sign and new):
            raise ClientError(f"--rename {old}{sign}{new}: give the old name and the new one, such as weed=crop")
    edits = {"rename": {old: new for old, _, new in pairs}, "drop": options.drop, "split": options.split}
    return {name: value for name, value in edits.items() if value}


def _print(data: Any) -> None:
    print(json.dumps(data, indent=2))


def login(options: argparse.Namespace) -> int:
    """Remember a site and a token, after asking the site."""
    token = options.token or getpass.getpass("Token (from your account page): ")
    client = Client(Access(url=options.url, token=token))
    count = len(client.models())
    place = login_file()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(mode=0o600)
    place.write_text(json.dumps({"url": options.url, "token": token}))
    console.print(f"{options.url} answers with {count} models; remembered in {place}")
    return 0


def submit(client: Client, options: argparse.Namespace) -> int:
    """Queue a pipeline or one job."""
    if options.spec:
        job = client.submit_job(_json_of(options.spec), lane=options.lane, key=options.key)
        return _after_job(client, job, options)
    if not options.model or not options.dataset:
        raise ClientError("give --model and --dataset, or --spec FILE")
    names = ("epochs", "input_size", "seed", "duration", "split", "lane")
    request: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    request |= {"models": options.model, "dataset_name": options.dataset}
    request["minutes"] = options.minutes if options.minutes or options.epochs else 4.0
    if options.recipe:
        request["recipe"] = _json_of(options.recipe)
    if options.backend:
        request["backends"] = options.backend
    if options.weights:
        request["weights_sha256"] = options.weights if len(options.weights) == SHA256_DIGITS else client.checkpoint(options.weights).sha256
    suite = client.submit_pipeline(request | _dataset(client, options.dataset), key=options.key)
    return _after_suite(client, suite, options)


def _dataset(client: Client, name: str) -> dict[str, Any]:
    """Return a data set as requests have it: the newest version on the site, else one that a job imports first."""
    if any(row["versions"] for row in client.datasets(name)):
        return {"dataset_sha256": client.dataset_version(name)["artifact_sha256"]}
    return {"import_ref": name}


def _after_suite(client: Client, suite: Suite, options: argparse.Namespace) -> int:
    console.print(f"{len(suite.jobs)} jobs queued: {suite.url}")
    ended = watch_suite(client, suite.uuid, console) if options.watch else suite
    if options.json:
        _print(ended.data)
    return 0 if not options.watch or all(job.state == "succeeded" for job in ended.jobs) else 1


def study(client: Client, options: argparse.Namespace) -> int:
    """List the studies, show one, or queue a run of it."""
    if options.queue:
        return _queue_study(client, options)
    found: Any = client.study(options.name) if options.name else client.studies()
    if options.json:
        _print(found)
    elif options.name:
        Console().print(study_table(found))
    else:
        Console().print(studies_table(found))
    return 0


def _queue_study(client: Client, options: argparse.Namespace) -> int:
    if not options.name:
        raise ClientError("give the name of a study; `paretobox study` lists them")
    names = ("epochs", "minutes", "seeds", "input_size", "duration", "lane")
    request = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.dataset:
        request |= {"dataset_name": options.dataset, **_dataset(client, options.dataset)}
    return _after_suite(client, client.submit_study(options.name, request, key=options.key), options)


def import_(client: Client, options: argparse.Namespace) -> int:
    """Import a data set."""
    path = Path(options.source)
    names = [name.strip() for name in options.names.split(",")] if options.names else None
    told: dict[str, Any] = {"class_names": names, "edits": _edits(options), "licence": options.licence, "source": options.origin}
    told |= {"preview": options.preview, "form": options.form}
    if path.is_dir():
        job = client.import_dataset(options.name or path.resolve().name, ref=str(path.resolve()), **told)
    elif not path.exists():
        job = client.import_dataset(options.name or path.name, ref=options.source, **told)
    else:
        with _download_bar() as bar:
            task = bar.add_task(f"upload {path.name}", total=path.stat().st_size if path.is_file() else None)
            name = options.name or path.name.split(".")[0]
            job = client.import_dataset(name, path=path, on_progress=lambda size: bar.advance(task, size), **told)
    return _after_job(client, job, options)


def freeze(client: Client, options: argparse.Namespace) -> int:
    """Freeze a preview, or make a new version with changes."""
    version = client.dataset_version(options.name, number=options.version, frozen=False)
    answer = client.freeze(version["uuid"], edits=_edits(options), licence=options.licence, source=options.origin)
    if answer["job"]:
        return _after_job(client, Job.of(answer["job"]), options)
    console.print(f"{options.name} v{answer['version']['number']} is frozen")
    if options.json:
        _print(answer)
    return 0


def import_model(client: Client, options: argparse.Namespace) -> int:
    """Import a model file, and measure it where that is asked for."""
    if not options.classes.is_file():
        raise ClientError(f"{options.classes} is not a file; give one with the class names, one a line")
    names = [line.strip() for line in options.classes.read_text(encoding="utf-8").splitlines() if line.strip()]
    mapping = dict(_pair(text) for text in options.map)
    size = dict(zip(("input_height", "input_width"), options.input_size or (), strict=False))
    told = {"split": options.split, "lane": options.lane, "licence": options.licence, **size}
    suite = client.import_model(
        options.file, layout=options.layout, name=options.name, classes=names, class_map=mapping, dataset=options.evaluate, **told
    )
    console.print(f"{len(suite.jobs)} job{'s' if len(suite.jobs) > 1 else ''} queued: {suite.url}")
    ended = watch_suite(client, suite.uuid, console) if options.watch else suite
    if options.json:
        _print(ended.data)
    return 0 if not options.watch or all(job.state == "succeeded" for job in ended.jobs) else 1


def _pair(text: str) -> tuple[str, str]:
    theirs, equals, ours = (part.strip() for part in text.partition("="))
    if not (theirs and equals and ours):
        raise ClientError(f"--map {text} is no mapping; write it as THEIRS=OURS")
    return theirs, ours


def score(client: Client, options: argparse.Namespace) -> int:
    """Score a results file."""
    if bool(options.dataset) == (options.ground_truth is not None):
        raise ClientError("give either --dataset (with --split) or --ground-truth FILE")
    told = {name: getattr(options, name) for name in ("dataset", "split", "ground_truth", "ids", "name")}
    job = client.score(options.file, **told)
    return _after_job(client, job, options)


def bundle(client: Client, options: argparse.Namespace) -> int:
    """Bring in a bundle."""
    job = client.bring_bundle(options.file)
    if options.json:
        _print(job.data)
    else:
        console.print(f"{job.kind} {job.title} is in, marked as measured on {job.data.get('origin')}: {job.url}")
    return 0


def _after_job(client: Client, job: Job, options: argparse.Namespace) -> int:
    console.print(f"{job.kind} queued: {job.url}")
    if options.watch:
        job = _watch_job(client, job.uuid)
    if options.json:
        _print(job.data)
    return 1 if job.state == "failed" else 0


def _watch_job(client: Client, job_id: str) -> Job:
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=1.0)

        def show(job: Job) -> None:
            bar.update(task, completed=(job.progress or {}).get("fraction", 0.0), description=f"{job.kind} {job.state} {now_text(job)}")

        job = client.wait(job_id, on_change=show)
    if job.state != "succeeded":
        console.print(f"{job.kind} {job.state}: {job.failure_message}", style="red", highlight=False)
    return job


def jobs(client: Client, options: argparse.Namespace) -> int:
    """List jobs."""
    filters = {name: getattr(options, name) for name in ("state", "kind", "suite") if getattr(options, name)}
    rows = client.jobs(**filters)
    if options.json:
        _print([row.data for row in rows])
    else:
        Console().print(jobs_table(rows))
    return 0


def watch(client: Client, options: argparse.Namespace) -> int:
    """Follow a job or a suite."""
    try:
        job = client.job(options.id)
    except ClientError:
        suite = watch_suite(client, options.id, console)
        if options.json:
            _print(suite.data)
        return 0 if all(item.state == "succeeded" for item in suite.jobs) else 1
    job = _watch_job(client, job.uuid)
    if options.json:
        _print(job.data)
    return 0 if job.state == "succeeded" else 1


def cancel(client: Client, options: argparse.Namespace) -> int:
    """Cancel a job."""
    return _moved(client.cancel(options.id), options)


def retry(client: Client, options: argparse.Namespace) -> int:
    """Queue a job again."""
    return _moved(client.retry(options.id), options)


def _moved(job: Job, options: argparse.Namespace) -> int:
    if options.json:
        _print(job.data)
    else:
        console.print(f"{job.kind} {job.title}: {job.state}")
    return 0


def _filters(options: argparse.Namespace) -> dict[str, Any]:
    names = ("suite", "dataset", "model", "family", "backend", "sort")
    return {name: getattr(options, name) for name in names if getattr(options, name)}


def results(client: Client, options: argparse.Namespace) -> int:
    """List results."""
    rows = client.results(**_filters(options))
    if options.json:
        _print([row.data for row in rows])
    else:
        Console().print(results_table(rows, title="Results"))
    return 0


def frontier(client: Client, options: argparse.Namespace) -> int:
    """Show the fronts, one table a group."""
    groups = client.frontier(**_filters(options))
    if options.json:
        _print(groups)
        return 0
    for group in groups:
        Console().print(results_table([Result.of(item) for item in group["points"]], title=group["title"]))
    return 0


def download(client: Client, options: argparse.Namespace) -> int:
    """Download a checkpoint, a stored file or a data set."""
    if options.dataset:
        return _download_dataset(client, options)
    if options.id is None:
        raise ClientError("give the id of a checkpoint, a sha256, or --dataset NAME")
    if len(options.id) == 64:
        sha256, name, size = options.id, f"{options.id[:12]}.bin", None
    else:
        checkpoint = client.checkpoint(options.id)
        sha256, name, size = checkpoint.sha256, checkpoint.name, checkpoint.size
    target = options.out or Path(name)
    target = target / name if target.is_dir() else target
    with _download_bar() as bar:
        task = bar.add_task(name, total=size)
        client.download(sha256, target, on_progress=lambda count: bar.advance(task, count))
    if options.json:
        _print({"path": str(target), "sha256": sha256, "size": target.stat().st_size})
    else:
        print(target)
    return 0


def _download_dataset(client: Client, options: argparse.Namespace) -> int:
    version = client.dataset_version(options.dataset, number=options.version)
    name = f"{options.dataset}-v{version['number']}{f'-{options.form}' if options.form else ''}.tar".replace("/", "-")
    target = options.out or Path(name)
    target = target / name if target.is_dir() else target
    with _download_bar() as bar:
        task = bar.add_task(name, total=None)
        if options.form:
            client.export_dataset(version["uuid"], options.form, target, on_progress=lambda count: bar.advance(task, count))
        else:
            client.download(version["artifact_sha256"], target, on_progress=lambda count: bar.advance(task, count))
    if options.json:
        _print({"path": str(target), "version": version["uuid"], "size": target.stat().st_size})
    else:
        print(target)
    return 0


def _download_bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console, transient=True)


COMMANDS = {
    "submit": submit,
    "study": study,
    "import": import_,
    "freeze": freeze,
    "import-model": import_model,
    "score": score,
    "bundle": bundle,
    "jobs": jobs,
    "watch": watch,
    "cancel": cancel,
    "retry": retry,
    "results": results,
    "frontier": frontier,
    "download": download,
}

if __name__ == "__main__":
    sys.exit(main())
