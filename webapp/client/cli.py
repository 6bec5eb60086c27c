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

from webapp.client.api import Access, Client, ClientError, Job, Result, login_file
from webapp.client.show import jobs_table, now_text, results_table
from webapp.client.watch import watch_suite

console = Console(stderr=True)


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
    item.add_argument("--seed", type=int, default=0)
    item.add_argument("--duration", choices=["quick", "standard", "full"], default="quick")
    item.add_argument("--split", choices=["val", "test"], default="test")
    item.add_argument("--lane", default="cpu")
    item.add_argument("--spec", type=Path, help="a job spec instead of models")
    item.add_argument("--key", help="idempotency key: the same key queues nothing twice")
    item.add_argument("--watch", action="store_true", help="wait until everything has ended")
    item = command("import", "import a data set: a .zip or .tar, or a built-in one")
    item.add_argument("source", help="a file, or the name of a built-in data set")
    item.add_argument("--name", help="the data set's name on the site")
    item.add_argument("--names", help="class names in order, comma separated, instead of those in the data")
    item.add_argument("--watch", action="store_true")
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
    item = command("download", "download a checkpoint by its id, or any stored file by its sha256")
    item.add_argument("id")
    item.add_argument("--out", type=Path, help="file or folder (default: here)")
    return parser


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
        job = client.submit_job(json.loads(options.spec.read_text()), lane=options.lane, key=options.key)
        return _after_job(client, job, options)
    if not options.model or not options.dataset:
        raise ClientError("give --model and --dataset, or --spec FILE")
    names = ("epochs", "input_size", "seed", "duration", "split", "lane")
    request: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    request |= {"models": options.model, "dataset_name": options.dataset}
    request["minutes"] = options.minutes if options.minutes or options.epochs else 4.0
    if options.backend:
        request["backends"] = options.backend
    known = client.datasets(options.dataset)
    if known:
        request["dataset_sha256"] = known[0]["versions"][0]["artifact_sha256"]
    else:
        request["import_ref"] = options.dataset
    suite = client.submit_pipeline(request, key=options.key)
    console.print(f"{len(suite.jobs)} jobs queued: {suite.url}")
    ended = watch_suite(client, suite.uuid, console) if options.watch else suite
    if options.json:
        _print(ended.data)
    return 0 if not options.watch or all(job.state == "succeeded" for job in ended.jobs) else 1


def import_(client: Client, options: argparse.Namespace) -> int:
    """Import a data set."""
    path = Path(options.source)
    names = [name.strip() for name in options.names.split(",")] if options.names else None
    if not path.exists():
        job = client.import_dataset(options.name or options.source, ref=options.source, class_names=names)
    else:
        with _download_bar() as bar:
            task = bar.add_task(f"upload {path.name}", total=path.stat().st_size if path.is_file() else None)
            stored = client.upload(path, on_progress=lambda size: bar.advance(task, size))
        source = {"sha256": stored["sha256"], "name": stored["name"]}
        name = options.name or path.name.split(".")[0]
        job = client.submit_job({"kind": "import", "source": source, "name": name, "class_names": names}, title=name)
    return _after_job(client, job, options)


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
    """Download a checkpoint or a stored file."""
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


def _download_bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console, transient=True)


COMMANDS = {
    "submit": submit,
    "import": import_,
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
