"""The command line: every command builds a spec and hands it to the operations, as a worker does.

With --json standard output holds one JSON document and nothing else. Exit status: 0 done, 1 failed, 2 bad input, 75 stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from detection_core.catalogue.specs import Neck
from detection_core.operations.console import ConsoleEvents, listing, short, table
from detection_core.operations.context import JobContext, Stopped, default_cache
from detection_core.operations.process import hold_lifeline, stdout_on_stderr, stop_on_signals
from detection_core.operations.run import DONE, STOPPED, execute, exit_status, failure_of, run_spec, write_whole
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import PUBLISHED, InputFile
from detection_core.schemas.results import JobResult
from detection_core.schemas.specs import JobSpec, parse_spec

# What a command answers: the JSON document, and the same as text.
Answer = tuple[Any, str]


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    args = build_parser().parse_args(argv)
    if args.command == "run":
        return _run(args)
    try:
        with stdout_on_stderr():
            document, text = args.answer(args)
        status = DONE
    except Stopped:
        again = f"; go on with --resume {args.out}" if args.command == "train" else ""
        document, text, status = {"stopped": True}, f"stopped{again}", STOPPED
        logging.warning(text)
    except Exception as error:
        failure = failure_of(error)
        logging.error(failure.message, exc_info=failure.kind != "user")
        document, text, status = {"failure": failure.to_dict()}, "", exit_status(failure)
    if args.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif status == DONE:
        print(text)
    return status


def models(args: argparse.Namespace) -> Answer:
    """List the detectors."""
    from detection_core.catalogue.detectors import DETECTORS

    fields = ("name", "family", "stages", "params_m", "macs_g", "input_size", "licence", "paper", "nms_free", "extra")
    rows = [{field: getattr(entry, field) for field in fields} for entry in DETECTORS.values()]
    return rows, table([{field: row[field] for field in fields if field != "paper"} for row in rows])


def datasets(args: argparse.Namespace) -> Answer:
    """List the data sets that need no upload."""
    from detection_core.catalogue.datasets import DATASETS

    fields = ("name", "title", "classes", "licence", "source", "about", "needs")
    rows = [{field: getattr(entry, field) for field in fields} for entry in DATASETS.values()]
    return rows, table([{**{field: row[field] for field in ("name", "about", "needs")}, "classes": _few(row["classes"])} for row in rows])


def convert(args: argparse.Namespace) -> Answer:
    """Write a data set in another form."""
    from detection_core.data.load import load_dataset
    from detection_core.data.writers import write_form

    dataset = load_dataset(args.dataset, cache_dir=default_cache(), options={"keep_splits": True} if args.keep_splits else None)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_form(dataset, args.form, args.out)
    images = {split: counts.images for split, counts in dataset.summary().items()}
    document = {"path": str(args.out), "form": args.form, "classes": dataset.classes, "images": images, "report": dataset.report.to_dict()}
    shown = {"path": document["path"], "classes": _few(dataset.classes), **{f"images {split}": count for split, count in images.items()}}
    return document, listing(shown | {"problems found": sum(dataset.report.counts.values())})


def assignment(args: argparse.Namespace) -> Answer:
    """Say which ground truth a detector could learn."""
    from detection_core.operations.assignment import assignment_of

    options = _json_file(args.recipe).get("model_options") if args.recipe else None
    report = assignment_of(args.model, _boxes(args), input_size=args.input_size, options=options)
    counted = {"all": report.total, **report.by_size, **{f"{side} px at the input": found for side, found in report.by_side.items()}}
    levels = [level.to_dict() for level in report.levels]
    shown = [{name: value for name, value in level.items() if name != "positives_by_size"} for level in levels]
    sizes = table([{"size": name, **found.to_dict()} for name, found in counted.items()])
    return report.to_dict(), "\n\n".join(part for part in (sizes, table(shown), report.advice) if part)


def fit_anchors(args: argparse.Namespace) -> Answer:
    """Propose anchors for a data set."""
    from detection_core.operations.assignment import anchors_for

    proposal = anchors_for(args.model, _boxes(args), input_size=args.input_size, neck=args.neck, seed=args.seed)
    options = proposal.options.given()
    shown = {f"{when} {name}": value for when in ("before", "after") for name, value in getattr(proposal, when).to_dict().items()}
    return {**proposal.to_dict(), "options": options}, listing(shown) + "\n\n" + json.dumps({"model_options": options})


def _boxes(args: argparse.Namespace) -> Any:
    from detection_core.data.load import load_dataset
    from detection_core.operations.assignment import split_boxes

    return split_boxes(load_dataset(args.dataset, cache_dir=default_cache()).require_split(args.split), args.split)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def probe(args: argparse.Namespace) -> Answer:
    """Say what this machine is and can run."""
    document = _do({"kind": "probe"}, args).to_dict()
    environment = document["environment"]
    shown = {name: environment[name] for name in ("cpu", "cores", "memory_gb", "device_name", "os", "python")}
    backends = {entry["name"]: ", ".join(entry["devices"]) or f"no: {entry['reason']}" for entry in document["backends"]}
    return document, listing(shown | backends)


def import_model(args: argparse.Namespace) -> Answer:
    """Make a model out of a file from elsewhere."""
    spec = {
        "kind": "import_model",
        "file": _file(args.file),
        "classes": _class_names(args.classes),
        "class_map": _class_map(args.class_map),
        "mean": _three_numbers("--mean", args.mean),
        "std": _three_numbers("--std", args.std),
        **{name: getattr(args, name) for name in ("layout", "name", "input_height", "input_width", "resize", "channel_order")},
        **{name: getattr(args, name) for name in ("nms_thresh", "licence", "threads")},
    }
    document = _do(spec, args).to_dict()
    document["path"] = str(args.out / document["path"])
    manifest = document["manifest"]
    return document, listing(
        {"path": document["path"], "sha256": document["sha256"], "params_m": manifest["params_m"], **manifest["input"]}
    )


def train(args: argparse.Namespace) -> Answer:
    """Train a detector."""
    spec = {
        "kind": "train",
        "model": args.model,
        "dataset": _file(args.dataset),
        "recipe": _recipe(args),
        "weights": _weights(args),
        "resume": args.resume and _file(str(_saved_state(Path(args.resume)))),
        "device": args.device,
        "threads": args.threads,
    }
    document = _do(spec, args).to_dict()
    for which in ("best", "last"):
        document[which]["path"] = str(args.out / document[which]["path"])
    shown = {which: f"{document[which]['path']}  AP {(document[which]['metrics'] or {}).get('ap')}" for which in ("best", "last")}
    return document, listing(shown)


def export(args: argparse.Namespace) -> Answer:
    """Export a checkpoint."""
    spec = {"kind": "export", "checkpoint": _file(args.checkpoint), "format": args.format, "dtype": args.dtype, "threads": args.threads}
    document = _do(spec, args).to_dict()
    document["path"] = str(args.out / document["path"])
    return document, listing({name: document[name] for name in ("path", "sha256", "max_abs_difference")})


def evaluate(args: argparse.Namespace) -> Answer:
    """Measure accuracy."""
    document = _do(_evaluate_spec(args), args).to_dict()
    return document["metrics"] | document, listing(document["metrics"] | _shown_card(document["accuracy"]))


def _shown_card(card: dict[str, Any]) -> dict[str, str]:
    """The interval of AP and the operating point, in words."""
    shown = {}
    if (drawn := card["bootstrap"]) and (ap := drawn["intervals"]["ap"]):
        shown["ap 95%"] = f"{short(ap['low'])} to {short(ap['high'])}, {drawn['draws']} draws of {drawn['units']} {drawn['unit']}s"
    if point := card["operating_point"]:
        shown["score_thresh"] = f"{short(point['score_thresh'])}, largest F1 on {point['chosen_on']}"
        shown |= {name: short(point[name]) for name in ("precision", "recall", "f1", "false_positives_per_image", "small_recall")}
    return shown


def benchmark(args: argparse.Namespace) -> Answer:
    """Measure latency."""
    spec = {
        "kind": "benchmark",
        "artifact": _file(args.artifact),
        "backend": args.backend or _default_backend(args.artifact),
        "dataset": _file(args.dataset),
        **{name: getattr(args, name) for name in ("split", "scenario", "duration", "score_thresh", "batch", "device", "threads", "seed")},
    }
    document = _do(spec, args).to_dict()
    shown = {f"latency_ms {name}": value for name, value in document["latency_ms"].items() if name in ("mean", "p50", "p90", "p95", "p99")}
    return document, listing(
        shown | {"fps": document["fps"], "samples": document["samples"], "flags": ", ".join(document["flags"]) or "none"}
    )


def bundle(args: argparse.Namespace) -> Answer:
    """Pack a finished job for a site."""
    from detection_core.operations.bundle import write_bundle

    index = write_bundle(args.folder, args.out, spec_path=args.spec)
    document = {"path": str(args.out), "kind": index.kind, "key": index.key, "files": [file.path for file in index.files]}
    return document, listing({**document, "files": ", ".join(document["files"])})


def _run(args: argparse.Namespace) -> int:
    with stop_on_signals() as stop, stdout_on_stderr():
        if args.lifeline:
            hold_lifeline(stop)
        status = run_spec(args.spec, args.out, args.inputs, stop=stop.is_set)
    if args.json:
        ends = [path for path in (args.out / "result.json", args.out / "failure.json") if path.is_file()]
        print(ends[0].read_text(encoding="utf-8").strip() if ends else json.dumps({"stopped": True}))
    return status


def _do(data: dict[str, Any], args: argparse.Namespace) -> JobResult:
    """Do a job in the folder --out, which then also holds spec, events and result, or in one that is gone afterwards."""
    spec: JobSpec = parse_spec(data)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        out = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paretobox-")))
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "spec.json", spec)
        events = ConsoleEvents(out / "events.jsonl")
        result = execute(spec, JobContext(out=out, events=events, inputs=None, cache=default_cache(), stop=stop.is_set))
    return result if args.out else result.model_copy(update={"files": ()})


def _file(ref: str) -> dict[str, str]:
    return InputFile(ref=ref, name=Path(ref).name).to_dict()


def _recipe(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of --recipe, over them the options given; the operation fills in the detector's own settings."""
    named = _json_file(args.recipe) if args.recipe else {}
    given = {name: getattr(args, name) for name in ("epochs", "max_minutes", "batch_size", "input_size", "seed")}
    return {**named, **{name: value for name, value in given.items() if value is not None}}


def _weights(args: argparse.Namespace) -> dict[str, str] | None:
    if args.weights == "default":
        return InputFile(ref=PUBLISHED, name="published weights").to_dict()
    return _file(args.weights) if args.weights else None


def _class_names(told: str) -> list[str]:
    """Names one a line in a file, or after commas."""
    path = Path(told)
    if "," not in told and path.is_file():
        try:
            return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise InvalidInput(f"{told} is not a text file of class names, one a line; correct the path") from None
    if "," not in told and (path.suffix or "/" in told):
        raise InvalidInput(f"there is no file {told} with class names; correct the path, or give names with commas between them")
    return [name.strip() for name in told.split(",")]


def _class_map(pairs: list[str]) -> dict[str, str]:
    named = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise InvalidInput(f"--class-map is {wrong[0]!r}; write it as FILE_NAME=DATA_SET_NAME")
    return named


def _three_numbers(option: str, told: str | None) -> list[float] | None:
    if told is None:
        return None
    try:
        numbers = [float(part) for part in told.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3:
        raise InvalidInput(f"{option} is {told!r}; give three numbers with commas, for values 0..1, such as 0.485,0.456,0.406")
    return numbers


def _json_file(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}); correct the path") from None
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON ({error}); correct the text") from None
    if not isinstance(data, dict):
        raise InvalidInput(f'{path} does not hold an object; write a recipe as {{"epochs": 12}}')
    return data


def _saved_state(folder: Path) -> Path:
    """The last complete state that an earlier training in `folder` told of."""
    try:
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    states = [event["file"]["path"] for line in lines if line.startswith("{") and (event := json.loads(line))["type"] == "state"]
    if not states or not (folder / states[-1]).is_file():
        raise InvalidInput(f"{folder} holds no saved state of a training; give the --out folder of one, or leave --resume out")
    return folder / states[-1]


def _evaluate_spec(args: argparse.Namespace) -> dict[str, Any]:
    model = args.checkpoint or args.artifact
    if args.predictions and not model and bool(args.ground_truth) != bool(args.dataset):
        truth = {"ground_truth": _file(args.ground_truth)} if args.ground_truth else {"dataset": _file(args.dataset), "split": args.split}
        return {"kind": "score", **truth, "predictions": _file(args.predictions), "ids": args.ids, "threads": args.threads}
    if args.ground_truth or args.predictions or not model or not args.dataset:
        raise InvalidInput("give --checkpoint or --artifact with --dataset, or --predictions with either --ground-truth or --dataset")
    return {
        "kind": "evaluate",
        "artifact": _file(model),
        "backend": args.backend or _default_backend(model),
        "dataset": _file(args.dataset),
        **{name: getattr(args, name) for name in ("split", "score_thresh", "device", "threads")},
    }


def _default_backend(path: str) -> str:
    return "onnxruntime" if path.endswith(".onnx") else "eager"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m detection_core", description="Train, export, evaluate and time object detectors.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _command(commands, "models", models, "list the detectors")
    _command(commands, "datasets", datasets, "list the data sets that need no upload")
    _command(commands, "probe", probe, "say what this machine is and can run")
    _add_import_model(_command(commands, "import-model", import_model, "make a model out of a file that was trained elsewhere"))
    _add_train(_command(commands, "train", train, "train a detector"))
    _add_export(_command(commands, "export", export, "turn a checkpoint into a file for another runtime"))
    _add_evaluate(_command(commands, "evaluate", evaluate, "measure accuracy of a model file, or score a COCO results file"))
    _add_benchmark(_command(commands, "benchmark", benchmark, "measure end-to-end latency"))
    _add_run(_command(commands, "run", _run, "do the job of a spec file, as a worker does"))
    _add_convert(_command(commands, "convert", convert, "write a data set in COCO, YOLO or VOC form"))
    _add_assignment(_command(commands, "assignment", assignment, "say which ground truth a detector could learn"))
    _add_fit_anchors(_command(commands, "fit-anchors", fit_anchors, "propose anchors for a data set, as model_options of a recipe"))
    _add_bundle(_command(commands, "bundle", bundle, "pack a finished job, to bring its result to a site"))
    return parser


def _command(commands: Any, name: str, answer: Callable[[argparse.Namespace], Any], help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, all else on standard error")
    parser.set_defaults(answer=answer, out=None)
    return parser


def _add_import_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", required=True, metavar="FILE", help="an .onnx file, or FastestDet's .pth")
    parser.add_argument("--layout", required=True, help="yolox, nanodet, anchor_free, end_to_end or fastestdet: see docs/models.md")
    parser.add_argument("--name", required=True, metavar="NAME", help="what the model is called: a-z, 0-9, '.', '_', '-'")
    parser.add_argument("--classes", required=True, metavar="FILE|A,B,C", help="class names in the order of the outputs")
    parser.add_argument(
        "--class-map", action="append", default=[], metavar="OLD=NEW", help="give a class the name data sets use (repeatable)"
    )
    parser.add_argument("--input-height", type=int, metavar="PX", help="where the graph leaves it open")
    parser.add_argument("--input-width", type=int, metavar="PX", help="where the graph leaves it open")
    parser.add_argument("--resize", help="letterbox or stretch; by default the layout's, as all that follows")
    parser.add_argument("--channel-order", help="rgb or bgr")
    parser.add_argument("--mean", metavar="A,B,C", help="of values 0..1, in the order of the channels")
    parser.add_argument("--std", metavar="A,B,C", help="of values 0..1, in the order of the channels")
    parser.add_argument("--nms-thresh", type=float, metavar="T")
    parser.add_argument("--licence", default="not told", metavar="NAME")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME")
    _add_dataset(parser, required=True)
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="most wall time; the learning rate follows it")
    parser.add_argument("--batch-size", type=int, metavar="B")
    parser.add_argument("--input-size", type=int, metavar="PX")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON with any fields of a recipe; the options above come before it")
    parser.add_argument("--weights", metavar="FILE|default", help="weights to begin with; default: those that torchvision publishes")
    parser.add_argument("--resume", metavar="DIR", help="the --out folder of a training that was stopped")
    _add_machine(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--format", default="onnx")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", metavar="FILE", help="a .safetensors file; runs with eager")
    model.add_argument("--artifact", metavar="FILE", help="an exported file; .onnx runs with onnxruntime")
    _add_measured(parser, dataset_required=False)
    parser.add_argument("--ground-truth", metavar="GT.json", help="COCO ground truth of --predictions, in place of --dataset")
    parser.add_argument("--predictions", metavar="DT.json", help="COCO results (.json or .json.gz) to score without a model")
    ids = "whose ids the predictions use: of the annotations that --dataset was read from, or of its COCO export"
    parser.add_argument("--ids", choices=["source", "export"], help=ids)


def _add_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--artifact", required=True, metavar="FILE", help="an exported file or a .safetensors checkpoint")
    parser.add_argument("--scenario", default="single_stream")
    parser.add_argument("--duration", default="quick", help="quick, standard or full")
    parser.add_argument("--batch", type=int, default=1, metavar="B")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    _add_measured(parser, dataset_required=True)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="folder with the input files, best named by their sha256")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input ends")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    _add_dataset(parser, required=True)
    parser.add_argument("--form", required=True, choices=("coco", "yolo", "voc"))
    parser.add_argument("--keep-splits", action="store_true", help="make no splits that the data does not name")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.tar")


def _add_assignment(parser: argparse.ArgumentParser) -> None:
    _add_assigned(parser)
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON of a recipe, whose model_options name other anchors")


def _add_fit_anchors(parser: argparse.ArgumentParser) -> None:
    _add_assigned(parser)
    parser.add_argument("--neck", choices=get_args(Neck), help="under which the anchors are to stand (default: the detector's own)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")


def _add_assigned(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME")
    _add_dataset(parser, required=True)
    parser.add_argument("--input-size", type=int, metavar="PX", help="side of the network's input (default: the detector's own)")
    parser.add_argument("--split", default="train", help="train, val or test (default train)")


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the --out folder of the job")
    parser.add_argument("--spec", type=Path, metavar="SPEC.json", help="the spec that was run (default: DIR/spec.json)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.tar")


def _add_measured(parser: argparse.ArgumentParser, *, dataset_required: bool) -> None:
    _add_dataset(parser, required=dataset_required)
    parser.add_argument("--split", default="test", help="train, val or test (default test)")
    parser.add_argument("--backend", metavar="NAME", help="eager or onnxruntime; by default what suits the file")
    parser.add_argument("--score-thresh", type=float, default=0.001, metavar="T", help="0.001 is the protocol of AP")
    _add_machine(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep spec, events, result and raw data here")


def _add_dataset(parser: argparse.ArgumentParser, *, required: bool) -> None:
    about = "a built-in name, or a folder, .zip or .tar in COCO, YOLO or VOC form; REF:names=a,b renames classes"
    parser.add_argument("--dataset", required=required, metavar="REF", help=about)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")


if __name__ == "__main__":
    sys.exit(main())
