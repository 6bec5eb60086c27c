"""Bundles: what is packed comes back whole, and a bundle that anybody may have made is refused with a sentence wherever it is wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_core.__main__ import main
from detection_core.operations import bundle as bundles
from detection_core.operations.bundle import read_bundle, write_bundle
from detection_core.schemas.accuracy import Bootstrap
from detection_core.schemas.accuracy_files import check_file
from detection_core.schemas.base import InvalidInput
from tests.bundles import bundle, evaluation, job_folder, latency, sha, training

Entries = list[tuple[str, bytes]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where entries are written."""
    (tmp_path / "entries").mkdir()
    return tmp_path / "entries"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return bundle(tmp_path / "job", *evaluation())


def entries_of(path: Path) -> Entries:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


def write_tar(
    path: Path, entries: Entries, *, changed: Callable[[tarfile.TarInfo], None] = lambda info: None, form=tarfile.USTAR_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            changed(info)
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(entries: Entries) -> Entries:
    """Make the list of a bundle right for what it holds now."""
    index = json.loads(entries[0][1])
    index["files"] = [{"path": name, "sha256": sha(content), "size": len(content)} for name, content in entries[1:]]
    return [("bundle.json", json.dumps(index).encode()), *entries[1:]]


def with_json(entries: Entries, name: str, change: Callable[[Any], Any]) -> Entries:
    """Change one JSON entry, and the list with it."""

    def changed(content: bytes) -> bytes:
        data = json.loads(content)
        return json.dumps(change(data) or data).encode()

    return listed([(entry, changed(content) if entry == name else content) for entry, content in entries])


def test_what_was_packed_comes_back(packed, place):
    found = read_bundle(packed, place)
    assert (found.spec.kind, found.result.metrics.ap) == ("evaluate", 0.41)
    assert [event.type for event in found.events] == ["progress", "metric", "warning"]
    detections = found.outputs["detections"]
    assert (detections.name, gzip.decompress(detections.path.read_bytes())) == ("detections.json.gz", b"[]")
    assert found.machine == "cpu-lab: A faraway CPU"


def test_equal_folders_give_equal_bytes(tmp_path):
    first, second = bundle(tmp_path / "one", *evaluation()), bundle(tmp_path / "two", *evaluation())
    assert first.read_bytes() == second.read_bytes()


def test_the_key_depends_on_what_is_in_it_and_not_on_the_padding(packed, place, tmp_path):
    key = read_bundle(packed, place).index.key
    longer = tmp_path / "longer.tar"
    longer.write_bytes(packed.read_bytes() + bytes(512))
    (tmp_path / "again").mkdir()
    assert read_bundle(longer, tmp_path / "again").index.key == key
    other = bundle(tmp_path / "other", *evaluation(ap=0.42))
    (tmp_path / "third").mkdir()
    assert read_bundle(other, tmp_path / "third").index.key != key


def test_paths_and_addresses_of_the_machine_stay_there(packed, place):
    assert b"secret place" not in packed.read_bytes() and b"127.0.0.1" not in packed.read_bytes()
    spec = read_bundle(packed, place).spec
    assert spec.artifact.sha256 == "a" * 64 and spec.dataset.name == "fields v1.tar"


def test_a_training_brings_its_checkpoints(tmp_path, place):
    spec, result, files = training()
    roles = {"best.safetensors": "checkpoint_best", "last.safetensors": "checkpoint_last"}
    path = bundle(tmp_path / "job", spec, result, {name: (roles[name], content) for name, content in files.items()})
    assert {role: file.sha256 for role, file in read_bundle(path, place).outputs.items()} == {
        "checkpoint_best": sha(files["best.safetensors"]),
        "checkpoint_last": sha(files["last.safetensors"]),
    }


def test_a_pickle_in_the_place_of_weights_is_refused_unread(tmp_path, place):
    spec, result, files = training()
    trap = pickle.dumps(Path(tmp_path / "ran"))
    result["best"]["sha256"] = sha(trap)
    content = {"best.safetensors": ("checkpoint_best", trap), "last.safetensors": ("checkpoint_last", files["last.safetensors"])}
    with pytest.raises(InvalidInput, match=r"'best.safetensors' is no .safetensors file with a manifest"):
        read_bundle(bundle(tmp_path / "job", spec, result, content), place)


def test_weights_with_another_manifest_than_the_result_are_refused(tmp_path, place):
    spec, result, files = training()
    result["manifest"] = {**result["manifest"], "params_m": 1.0}
    roles = {"best.safetensors": "checkpoint_best", "last.safetensors": "checkpoint_last"}
    path = bundle(tmp_path / "job", spec, result, {name: (roles[name], content) for name, content in files.items()})
    with pytest.raises(InvalidInput, match="is not the one of the result"):
        read_bundle(path, place)


def test_the_manifest_key_is_the_one_that_checkpoints_are_written_with():
    from detection_core.build import MANIFEST_KEY

    assert bundles.MANIFEST_KEY == MANIFEST_KEY


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "result.json").unlink(), "run the job first"),
        (lambda folder: (folder / "spec.json").unlink(), "give the spec that was run with --spec"),
        (lambda folder: (folder / "detections.json.gz").unlink(), "holds no detections.json.gz"),
        (lambda folder: (folder / "detections.json.gz").write_bytes(b"x"), "is not the file that the result lists"),
        (lambda folder: (folder / "spec.json").write_text('{"kind": "probe"}'), "a job of kind probe is not bundled"),
        (lambda folder: _respec(folder, split="val"), "the result is not one of this spec: split is 'test' there, 'val' here"),
        (lambda folder: _respec(folder, artifact={"sha256": "b" * 64}), "of another model file"),
        (lambda folder: _respec(folder, score_thresh=0.25), "another score_thresh"),
    ],
)
def test_a_folder_that_is_not_whole_is_not_packed(tmp_path, change, sentence):
    folder = job_folder(tmp_path / "job", *evaluation())
    change(folder)
    with pytest.raises(InvalidInput, match=sentence):
        write_bundle(folder, tmp_path / "out.tar")
    assert not list(tmp_path.glob("*.tar*"))


def _respec(folder: Path, **changes: Any) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(spec | changes))


def exported() -> tuple[dict, dict, dict[str, tuple[str, bytes]]]:
    """What an export elsewhere leaves."""
    _, told = evaluation()
    same = {name: told[name] for name in ("manifest", "environment")}
    result = {"kind": "export", "path": "model.onnx", "sha256": sha(b"any bytes"), "max_abs_difference": 0.0, **same}
    return {"kind": "export", "checkpoint": {"sha256": "c" * 64}}, result, {"model.onnx": ("exported_model", b"any bytes")}


def test_an_export_is_neither_packed_nor_read_and_the_refusal_says_what_to_do_instead(packed, place, tmp_path):
    remedy = "bring the training's bundle and queue the export on the site"
    spec, result, files = exported()
    with pytest.raises(InvalidInput, match=remedy):
        bundle(tmp_path / "export", spec, result, files)
    folder = tmp_path / "export"
    entries = [(name, (folder / name).read_bytes()) for name in ("spec.json", "result.json", "events.jsonl")]
    entries = listed([entries_of(packed)[0], *entries, ("files/model.onnx", b"any bytes")])
    path = write_tar(tmp_path / "hostile.tar", _index(entries, kind="export"))
    with pytest.raises(InvalidInput, match=remedy):
        read_bundle(path, place)


def _renamed(entries: Entries, name: str) -> Entries:
    return listed([(name if entry.startswith("files/") else entry, content) for entry, content in entries])


def _in_result(change: Callable[[Any], Any]) -> Callable[[Entries], Entries]:
    return lambda entries: with_json(entries, "result.json", change)


def _content(entry: str, content: bytes) -> Callable[[Entries], Entries]:
    return lambda entries: listed([(name, content if name == entry else former) for name, former in entries])


HOSTILE: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "no list first": (lambda entries: entries[1:], "the first entry is not bundle.json"),
    "an entry outside": (lambda entries: _renamed(entries, "files/../../evil"), "field 'files.3.path'"),
    "an absolute name": (lambda entries: _renamed(entries, "/tmp/evil"), "field 'files.3.path'"),
    "a name outside of files": (lambda entries: _renamed(entries, "evil"), "does not list spec.json, result.json"),
    "an entry too many": (lambda entries: [*entries, ("files/more", b"x")], "an entry that its bundle.json does not list"),
    "an entry that no result lists": (lambda entries: listed([*entries, ("files/more", b"x")]), "which its result does not list"),
    "an entry missing": (lambda entries: entries[:-1], "holds nothing where its bundle.json lists 'files/detections.json.gz'"),
    "another order": (lambda entries: [entries[0], entries[2], entries[1], *entries[3:]], "holds 'result.json' where its"),
    "other bytes": (lambda entries: [*entries[:-1], (entries[-1][0], bytes(len(entries[-1][1])))], "has another sha256"),
    "another size": (lambda entries: [*entries[:-1], (entries[-1][0], b"x")], "has 1 bytes and bundle.json says"),
    "no JSON": (_content("spec.json", b"{"), "'spec.json' is not JSON"),
    "deep JSON": (_content("result.json", b"[" * 100_000), "'result.json' is not JSON"),
    "no text": (_content("result.json", b"\xff\xfe\xfd"), "'result.json' is not JSON"),
    "a broken event": (_content("events.jsonl", b"{}\n"), "field 'type'"),
    "no gzip": (_content("files/detections.json.gz", b"[]"), "lists 'detections.json.gz', which the bundle lacks"),
    "a number that is none": (_in_result(lambda data: data["protocol"].update(nms_thresh=float("nan"))), "nan is no number"),
    "a number beyond all": (_in_result(lambda data: data["protocol"].update(nms_thresh=10**30)), "more than 64 bits"),
    "a NUL": (_in_result(lambda data: data["protocol"].update(note="\x00")), "NUL"),
    "half a character": (_in_result(lambda data: data["protocol"].update(note="\ud800")), "surrogates"),
    "an unknown field": (_in_result(lambda data: data.update(run="rm")), "field 'run' is not known"),
    "a role that is not taken": (_in_result(lambda data: data["files"][0].update(role="training_state")), "no file of the role"),
    "a threshold in words": (_in_result(lambda data: data["protocol"].update(score_thresh="low")), "another score_thresh"),
    "a seed in words": (_in_result(lambda data: data["protocol"].update(seed="; rm -rf /")), "seed that is no whole number"),
    "limits in words": (_in_result(lambda data: data["environment"]["details"].update(limits={"memory": "much"})), "limits that are no"),
    "an unknown field of the list": (lambda entries: _index(entries, extra=1), "field 'extra' is not known"),
    "an unknown version": (lambda entries: _index(entries, bundle_version=2), "field 'bundle_version'"),
    "a kind that is not taken": (lambda entries: _index(entries, kind="import"), "field 'kind'"),
    "kinds that differ": (lambda entries: _index(entries, kind="score"), "the bundle says score, its spec evaluate"),
}


def _index(entries: Entries, **changes: Any) -> Entries:
    return [("bundle.json", json.dumps(json.loads(entries[0][1]) | changes).encode()), *entries[1:]]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bundle_that_is_wrong_is_refused_with_a_sentence_and_nothing_is_written_elsewhere(packed, place, tmp_path, case):
    change, sentence = HOSTILE[case]
    path = write_tar(tmp_path / "hostile.tar", change(entries_of(packed)))
    before = {file for file in tmp_path.rglob("*") if place not in file.parents}
    with pytest.raises(InvalidInput, match=sentence):
        read_bundle(path, place)
    assert {file for file in tmp_path.rglob("*") if place not in file.parents} == before
    assert not (tmp_path / "evil").exists() and not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_folders_devices_and_sparse_files_are_refused(packed, place, tmp_path, kind):
    def changed(info: tarfile.TarInfo) -> None:
        if info.name.startswith("files/"):
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = 0

    with pytest.raises(InvalidInput, match="is a link, a folder or something else than a file"):
        read_bundle(write_tar(tmp_path / "hostile.tar", entries_of(packed), changed=changed), place)


def test_extensions_of_the_format_are_refused_and_not_interpreted(packed, place, tmp_path):
    entries = _renamed(entries_of(packed), "files/" + "x" * 300)
    with pytest.raises(InvalidInput):
        read_bundle(write_tar(tmp_path / "hostile.tar", entries, form=tarfile.GNU_FORMAT), place)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_bundle_that_is_cut_short_is_refused(packed, place, tmp_path, share):
    path = tmp_path / "cut.tar"
    content = packed.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInput, match=r"whole|no bundle"):
        read_bundle(path, place)


@pytest.mark.parametrize("content", [b"", b"\x00" * 2048, b"PK\x03\x04" + bytes(2000), b"a text", bytes(range(256)) * 8])
def test_other_files_are_no_bundles(place, tmp_path, content):
    path = tmp_path / "other.tar"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="no bundle"):
        read_bundle(path, place)


def test_a_bundle_larger_than_the_limit_is_refused_before_it_is_written(packed, place):
    with pytest.raises(InvalidInput, match="unpacks to more than 1,000 bytes"):
        read_bundle(packed, place, max_bytes=1000)
    assert [file.name for file in place.iterdir()] == ["bundle.json"]


def test_a_packed_output_that_unpacks_to_too_much_is_refused(tmp_path, place, monkeypatch):
    monkeypatch.setitem(bundles.MAX_UNPACKED, "detections", 1_000_000)
    trap = {"detections.json.gz": ("detections", gzip.compress(bytes(5_000_000)))}
    with pytest.raises(InvalidInput, match="unpacks to more than 1,000,000 bytes"):
        read_bundle(bundle(tmp_path / "job", *evaluation(), trap), place)


@pytest.mark.parametrize("part", ["latency_ms", "forward"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"p50": -3.0}, "percentiles out of order"),
        ({"p50": 8.0 - 1e-6, "min": 8.0}, "percentiles out of order"),
        ({"min": -1.0}, "negative"),
        ({"p90": 20.0}, "percentiles out of order"),
        ({"p99": 9.5}, "percentiles out of order"),
        ({"max": 9.0}, "percentiles out of order"),
        ({"mean": 30.0}, "a mean outside"),
        ({"sd": -0.1}, "a negative deviation"),
        ({"p50_ci": [9.2, 8.9]}, "an interval whose low end"),
    ],
)
def test_latencies_that_no_list_of_samples_has_are_refused_by_name(tmp_path, part, change, sentence):
    spec, result = latency()
    (result["latency_ms"] if part == "latency_ms" else result["stages_ms"][part]).update(change)
    with pytest.raises(InvalidInput, match=rf"the result's {part} holds latencies that cannot be \(.*{sentence}"):
        bundle(tmp_path / "job", spec, result)


def test_an_interval_without_an_end_is_refused(tmp_path):
    spec, result = latency()
    result["latency_ms"]["p95_ci"] = [9.0, float("inf")]
    with pytest.raises(InvalidInput, match=r"field 'latency_ms\.p95_ci\.1': input should be a finite number"):
        bundle(tmp_path / "job", spec, result)


def test_a_median_of_nothing_is_refused_and_a_stage_that_took_none_is_taken(tmp_path):
    spec, result = latency()
    result["stages_ms"]["postprocess"] = dict.fromkeys(result["latency_ms"], 0.0) | {"p50_ci": None, "p95_ci": None}
    bundle(tmp_path / "job", spec, result)
    result["latency_ms"].update(min=0.0, p50=0.0)
    with pytest.raises(InvalidInput, match="a median of nothing"):
        bundle(tmp_path / "job", spec, result)


def test_a_rate_that_does_not_follow_from_the_mean_is_refused(tmp_path):
    spec, result = latency()
    result["fps"] *= 1.02
    with pytest.raises(InvalidInput, match=r"the result's fps is .*, and its mean latency gives"):
        bundle(tmp_path / "job", spec, result)


def test_the_command_packs_a_folder(tmp_path, capfd):
    folder = job_folder(tmp_path / "job", *evaluation())
    (folder / "spec.json").rename(tmp_path / "downloaded.json")
    assert main(["bundle", str(folder), "--spec", str(tmp_path / "downloaded.json"), "--out", str(tmp_path / "b.tar"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["files"] == ["spec.json", "result.json", "events.jsonl", "files/detections.json.gz"]
    assert hashlib.sha256((tmp_path / "b.tar").read_bytes()).hexdigest()


@pytest.mark.parametrize(("images", "seen"), [(72, 71), (72, 200), (500, 200), (501, 501), (501, 0)])
def test_an_audit_of_other_images_than_the_rule_asks_for_is_refused(tmp_path, images, seen):
    spec, result = evaluation()
    result = {**result, "images": images, "audit": {**result["audit"], "images": seen}}
    with pytest.raises(InvalidInput, match=f"audit saw {seen} images, and of {images} it has to see {200 if images > 500 else images}"):
        bundle(tmp_path / "job", spec, result)


@pytest.mark.parametrize(("images", "seen"), [(500, 500), (501, 200), (5000, 200)])
def test_an_audit_by_the_rule_is_taken_even_where_it_differs(tmp_path, images, seen):
    spec, result = evaluation()
    bundle(tmp_path / "job", spec, {**result, "images": images, "audit": {**result["audit"], "images": seen, "max_abs_difference": 0.2}})


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ([[1, 0], [0, 1]], "2 classes need 3 rows of 3 counts"),
        ([[1, 0, 0], [0, 1, 0], [0, 0]], "2 classes need 3 rows of 3 counts"),
        ([], "2 classes need 3 rows of 3 counts"),
        ([[1, 0, 0], [0, -1, 0], [0, 0, 0]], "greater than or equal to 0"),
    ],
)
def test_a_confusion_that_is_not_one_of_its_classes_is_refused(tmp_path, counts, sentence):
    spec, result = evaluation()
    with pytest.raises(InvalidInput, match=sentence):
        bundle(tmp_path / "job", spec, {**result, "accuracy": {"confusion": {"classes": ["crop", "weed"], "counts": counts}}})


def test_bundles_need_no_numerical_library():
    code = (
        "import sys; from detection_core.operations import bundle; "
        "sys.exit(bool({'torch', 'numpy', 'onnxruntime', 'hotcoco', 'pycocotools', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# the files that pages read


BOOTSTRAP = {"draws": 2, "seed": 0, "unit": "image", "units": 1, "key": "b" * 64, "intervals": {"ap": {"low": 0.4, "high": 0.6}}}


def resampled() -> tuple[dict, dict]:
    """An evaluation whose intervals are of the draws of `page_files`."""
    spec, result = evaluation()
    return spec, {**result, "accuracy": {"bootstrap": BOOTSTRAP}}


def page_files(tmp_path: Path) -> dict[str, tuple[str, bytes]]:
    """Curves and examples as an evaluation writes them."""
    from detection_core.evaluation.coco_metrics import detection_table
    from detection_core.evaluation.curves import write_curves
    from detection_core.evaluation.examples import write_examples

    box = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40]}
    truth = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 100}],
        "categories": [{"id": 3, "name": "crop"}],
        "annotations": [{**box, "id": 1, "area": 1200, "iscrowd": 0}],
    }
    table = detection_table([{**box, "score": 0.5}])
    write_curves(tmp_path / "c.gz", truth, table, draws={"ap": [0.5, None]}, bootstrap=Bootstrap.parse(BOOTSTRAP))
    write_examples(tmp_path / "e.gz", truth, table, groups={}, score_thresh=0.3)
    return {
        "curves.json.gz": ("curves", (tmp_path / "c.gz").read_bytes()),
        "examples.json.gz": ("examples", (tmp_path / "e.gz").read_bytes()),
    }


def test_curves_and_examples_as_they_are_written_are_taken(tmp_path, place):
    path = bundle(tmp_path / "job", *resampled(), page_files(tmp_path))
    assert set(read_bundle(path, place).outputs) == {"curves", "examples"}


@pytest.mark.parametrize(
    ("role", "change"),
    [
        ("curves", lambda data: data.pop("f1")),
        ("curves", lambda data: data.update(precision={"a": [0.5]})),
        ("curves", lambda data: data.update(version=2)),
        ("curves", lambda data: data["f1"]["f1"].append(0.1)),
        ("curves", lambda data: data.update(draws={})),
        ("curves", lambda data: data["draws"].update(ap50=[0.5, 0.5])),
        ("curves", lambda data: data["draws"]["ap"].append(0.5)),
        ("curves", lambda data: data.update(bootstrap_key="c" * 64)),
        ("curves", lambda data: data.update(bootstrap_key=None)),
        ("examples", lambda data: data.update(classes=[])),
        ("examples", lambda data: data["images"][0]["detections"][0].update(truth=7)),
        ("examples", lambda data: data["images"][0]["detections"][0].update(box=[1, 2, 3])),
        ("examples", lambda data: data["images"][0]["detections"][0].update(label=-1)),
        ("examples", lambda data: data.update(suspects=[{"image": 99, "kind": "k", "detection": 0, "truth": 0, "score": 1, "words": "w"}])),
    ],
)
def test_curves_and_examples_of_another_shape_are_refused(tmp_path, place, role, change):
    files = page_files(tmp_path)
    name = f"{role}.json.gz"
    data = json.loads(gzip.decompress(files[name][1]))
    change(data)
    files[name] = (role, gzip.compress(json.dumps(data).encode()))
    with pytest.raises(InvalidInput, match=rf"'{name}' (is no|holds|points)"):
        read_bundle(bundle(tmp_path / "job", *resampled(), files), place)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"images": [',
        b'{"images": [{]}',
        b'{"images": [1]}',
        b'{"images": [' + b"[" * 100_000,
        b'{"version": 1, "images": []}',
        b'{"version": 1, "images": []',
    ],
)
def test_a_file_of_examples_that_is_no_such_file_is_refused(text):
    with pytest.raises(InvalidInput, match=r"'e.json.gz' is no examples file.*; run the job again"):
        check_file("examples", text, name="e.json.gz", bootstrap=None)


def test_images_in_another_place_than_where_they_are_read_are_refused(tmp_path):
    whole = json.loads(gzip.decompress(page_files(tmp_path)["examples.json.gz"][1]))
    check_file("examples", json.dumps(whole).encode(), name="e", bootstrap=None)
    hidden = {"inner": {"images": []}, **whole}
    with pytest.raises(InvalidInput, match="'e' is no examples file: examples: field 'images': list should have at most 0"):
        check_file("examples", json.dumps(hidden).encode(), name="e", bootstrap=None)


def test_a_wrong_image_is_named_by_its_number(tmp_path):
    whole = json.loads(gzip.decompress(page_files(tmp_path)["examples.json.gz"][1]))
    whole["images"].append({**whole["images"][0], "id": "x"})
    with pytest.raises(InvalidInput, match=r"'e' is no examples file: images\.1: field 'id'"):
        check_file("examples", json.dumps(whole).encode(), name="e", bootstrap=None)


def test_examples_are_checked_image_by_image(tmp_path):
    whole = json.loads(gzip.decompress(page_files(tmp_path)["examples.json.gz"][1]))
    image = whole["images"][0]
    box = {**image["detections"][0], "truth": None}
    whole["images"] = [{**image, "id": number, "detections": [box] * 100} for number in range(400)]
    text = json.dumps(whole).encode()
    del whole
    tracemalloc.start()
    check_file("examples", text, name="e", bootstrap=None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(text)


def test_draws_without_intervals_in_the_result_are_refused(tmp_path, place):
    with pytest.raises(InvalidInput, match="holds other draws than the result's intervals were made of"):
        read_bundle(bundle(tmp_path / "job", *evaluation(), page_files(tmp_path)), place)
