"""The command line: every command builds a spec and hands it to the operations, as a worker does.

With --json standard output holds one JSON document and nothing else. Exit status: 0 done, 1 failed, 2 bad input, 75 stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from detection_core.operations.console import ConsoleEvents, listing, table
from detection_core.operations.context import JobContext, Stopped, default_cache
from detection_core.operations.process import hold_lifeline, stdout_on_stderr, stop_on_signals
from detection_core.operations.run import DONE, STOPPED, execute, exit_status, failure_of, run_spec, write_whole
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.files import InputFile
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
    """List the built-in data sets."""
    from detection_core.catalogue.datasets import DATASETS

    fields = ("name", "title", "classes", "licence", "source", "about", "needs")
    rows = [{field: getattr(entry, field) for field in fields} for entry in DATASETS.values()]
    return rows, table([{"name": row["name"], "classes": ", ".join(row["classes"]), "about": row["about"]} for row in rows])


def probe(args: argparse.Namespace) -> Answer:
    """Say what this machine is and can run."""
    document = _do({"kind": "probe"}, args).to_dict()
    environment = document["environment"]
    shown = {name: environment[name] for name in ("cpu", "cores", "memory_gb", "device_name", "os", "python")}
    backends = {entry["name"]: ", ".join(entry["devices"]) or f"no: {entry['reason']}" for entry in document["backends"]}
    return document, listing(shown | backends)


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
    return document["metrics"] | document, listing(document["metrics"])


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
        raise InvalidInput(f"{args.model} has no default weights yet; leave --weights out to start at random, or give a .safetensors file")
    return _file(args.weights) if args.weights else None


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
    if args.ground_truth and args.predictions and not model:
        return {"kind": "score", "ground_truth": _file(args.ground_truth), "predictions": _file(args.predictions)}
    if args.ground_truth or args.predictions or not model or not args.dataset:
        raise InvalidInput("give --checkpoint or --artifact with --dataset, or --ground-truth with --predictions")
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
    _command(commands, "datasets", datasets, "list the built-in data sets")
    _command(commands, "probe", probe, "say what this machine is and can run")
    _add_train(_command(commands, "train", train, "train a detector"))
    _add_export(_command(commands, "export", export, "turn a checkpoint into a file for another runtime"))
    _add_evaluate(_command(commands, "evaluate", evaluate, "measure accuracy of a model file, or score a COCO results file"))
    _add_benchmark(_command(commands, "benchmark", benchmark, "measure end-to-end latency"))
    _add_run(_command(commands, "run", _run, "do the job of a spec file, as a worker does"))
    return parser


def _command(commands: Any, name: str, answer: Callable[[argparse.Namespace], Any], help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, all else on standard error")
    parser.set_defaults(answer=answer, out=None)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME")
    _add_dataset(parser, required=True)
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="most wall time; the learning rate follows it")
    parser.add_argument("--batch-size", type=int, metavar="B")
    parser.add_argument("--input-size", type=int, metavar="PX")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON with any fields of a recipe; the options above come before it")
    parser.add_argument("--weights", metavar="FILE|default", help="weights to begin with")
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
    parser.add_argument("--ground-truth", metavar="GT.json", help="COCO ground truth, to score --predictions without a model")
    parser.add_argument("--predictions", metavar="DT.json", help="COCO results (.json or .json.gz)")


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
