"""The assignment panel of the page that queues: counted from stored boxes, anchors taken into the request, readable without JavaScript."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from detection_core.assignment.report import ObjectCounts
from tests.axe import violations
from tests.factories import PASSWORD, make_dataset_version
from tests.own_folders import own_folders
from tests.page_factories import make_stored_dataset
from webapp.jobs.assignment import shares, split_of
from webapp.jobs.models import Job

__all__ = ["own_folders"]
pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
RETINANET = "retinanet_resnet10_fpn"
OTHER = {"model": RETINANET, "anchor_sizes": [[6], [12], [24], [48]], "aspect_ratios": [[1.0, 2.0]] * 4}


@pytest.fixture
def version():
    images = [(f"{number}.png", "train", 2 + number % 4) for number in range(12)]
    return make_stored_dataset(images=(*images, ("v.png", "val", 1), ("t.png", "test", 1)))


def _fields(version, **fields):
    values = {
        "dataset": f"version:{version.uuid}",
        "models": [RETINANET, "fcos_resnet10_fpn"],
        "backends": ["eager"],
        "minutes": "4",
        "duration": "quick",
        "split": "test",
        "input_size": "64",
        "seed": "0",
        "lane": "cpu",
    }
    return values | fields


def _text(response):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", response.content.decode())))


def _panel(client, version, **fields):
    return client.get("/jobs/new/assignment", _fields(version, **fields), headers=HTMX)


def test_the_panel_needs_a_login(client, version):
    assert _panel(client, version).url.startswith("/login")


def test_each_chosen_detector_has_a_row_and_anchors_only_where_there_are_some(alice_client, version):
    text = _text(_panel(alice_client, version))
    objects = len(split_of(version.artifact_id, "train").boxes)
    assert f"Objects of the train split: {objects} in 12 images" in text
    assert "RetinaNet ResNet-10" in text and "FCOS ResNet-10" in text
    fcos = text.split("FCOS ResNet-10")[1]
    assert "no anchors" in fcos
    assert text.count("Fit anchors") == 1
    assert not Job.objects.exists()


def test_the_numbers_of_the_panel_are_those_of_the_api_and_of_the_library(alice_client, client, version):
    from detection_core.operations.assignment import assignment_of

    query = {"model": RETINANET, "dataset_sha256": version.artifact_id, "input_size": 64}
    answer = client.get("/api/v1/assignment", query).json()
    report = assignment_of(RETINANET, split_of(version.artifact_id, "train"), input_size=64)
    assert answer == json.loads(report.model_dump_json())
    collided, unreached = (f"{100 * part / report.total.objects:.1f}" for part in (report.total.collided, report.total.unreached))
    unmatched = f"{100 * (report.unmatched_share or 0):.1f}"
    page = _panel(alice_client, version, models=[RETINANET]).content.decode()
    assert f'data-label="Lost to others, %">{collided}<' in page
    assert f'data-label="No place near, %">{unreached}<' in page
    assert f'data-label="Under IoU 0.5, %">{unmatched}<' in page
    assert f'data-label="Positives an image">{report.positives_per_image:.1f}<' in page


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"model": "nothing"}, 422, "there is no detector named 'nothing'"),
        ({"dataset_sha256": "0" * 64}, 404, "no data set has this artifact_sha256"),
        ({"split": "all"}, 422, "'all' is not a split"),
        ({"model": "ssd300_vgg16", "input_size": 128}, 422, "raise 'input_size'"),
        ({"input_size": 5}, 422, "greater than or equal to 64"),
    ],
)
def test_the_api_refuses_with_a_sentence(client, version, query, status, words):
    answer = client.get("/api/v1/assignment", {"model": RETINANET, "dataset_sha256": version.artifact_id} | query)
    assert answer.status_code == status
    assert words in str(answer.json()["detail"])


def test_fitting_shows_the_proposal_and_a_box_that_puts_it_into_the_request(alice_client, version):
    answer = _panel(alice_client, version, fit=RETINANET)
    value = json.loads(unescape(re.search(r'name="anchors" value="([^"]+)"', answer.content.decode()).group(1)))
    assert value["model"] == RETINANET
    assert len(value["anchor_sizes"]) == len(value["aspect_ratios"]) == 4
    assert "Mean best IoU" in _text(answer)
    alice_client.post("/jobs/new", _fields(version, anchors=json.dumps(value)))
    options = {job.spec["model"]: job.spec["recipe"]["model_options"] for job in Job.objects.filter(kind="train")}
    assert options[RETINANET] == {name: value[name] for name in ("anchor_sizes", "aspect_ratios")}
    assert options["fcos_resnet10_fpn"] == {}


def test_taken_anchors_stay_in_the_panel_and_in_a_refused_form(alice_client, version):
    assert "Sizes 6 | 12 | 24 | 48 px" in _text(_panel(alice_client, version, anchors=json.dumps(OTHER)))
    refused = alice_client.post("/jobs/new", _fields(version, anchors=json.dumps(OTHER), minutes="0"))
    assert refused.status_code == 400
    assert "Sizes 6 | 12 | 24 | 48 px" in _text(refused)


@pytest.mark.parametrize(
    ("anchors", "words"),
    [
        ("{", "the anchors of the form are not readable"),
        (json.dumps(OTHER | {"anchor_sizes": [[6]]}), "has 4 levels and anchor_sizes has 1"),
        (json.dumps(OTHER | {"anchor_sizes": [[-6], [1], [2], [3]]}), "from 1 to 4096"),
        (json.dumps(OTHER | {"model": "fcos_resnet10_fpn"}), "has no anchors"),
        (json.dumps(OTHER | {"depth": 3}), "field 'depth' is not known"),
    ],
)
def test_anchors_that_cannot_be_are_refused_and_nothing_is_queued(alice_client, version, anchors, words):
    answer = alice_client.post("/jobs/new", _fields(version, anchors=anchors))
    assert answer.status_code == 400
    assert words in _text(answer)
    assert not Job.objects.exists()


def test_anchors_of_a_model_that_is_not_chosen_any_more_are_dropped(alice_client, version):
    alice_client.post("/jobs/new", _fields(version, models=["ssd_resnet10"], anchors=json.dumps(OTHER)))
    assert Job.objects.get(kind="train").spec["recipe"]["model_options"] == {}


def test_the_api_takes_anchors_by_model_and_names_one_that_is_not_asked_for(alice_client, version):
    request = {"models": [RETINANET], "dataset_sha256": version.artifact_id, "model_options": {RETINANET: dict(list(OTHER.items())[1:])}}
    answer = alice_client.post("/api/v1/suites", request, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert Job.objects.get(kind="train").spec["recipe"]["model_options"]["anchor_sizes"] == OTHER["anchor_sizes"]
    request["models"] = ["ssd_resnet10"]
    answer = alice_client.post("/api/v1/suites", request, content_type="application/json")
    assert answer.status_code == 422
    assert "names 'retinanet_resnet10_fpn', which is not among the models" in str(answer.json()["detail"])


def test_the_api_takes_another_neck_and_refuses_one_that_the_network_cannot_have(alice_client, version):
    request = {
        "models": ["fcos_resnet10_fpn"],
        "dataset_sha256": version.artifact_id,
        "model_options": {"fcos_resnet10_fpn": {"neck": "pan"}},
    }
    answer = alice_client.post("/api/v1/suites", request, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert Job.objects.get(kind="train").spec["recipe"]["model_options"] == {"neck": "pan"}
    request |= {"models": ["fcos_resnet50_fpn"], "model_options": {"fcos_resnet50_fpn": {"neck": "pan"}}}
    answer = alice_client.post("/api/v1/suites", request, content_type="application/json")
    assert answer.status_code == 422
    assert "fcos_resnet50_fpn takes no option 'neck'; leave it out" in str(answer.json()["detail"])


def test_fitting_under_a_taken_neck_proposes_anchors_for_its_levels(alice_client, version):
    taken = json.dumps({"model": RETINANET, "neck": "single"})
    answer = _panel(alice_client, version, anchors=taken, fit=RETINANET)
    value = json.loads(unescape(re.search(r'name="anchors" value="([^"]+)"', answer.content.decode()).group(1)))
    assert value["neck"] == "single" and len(value["anchor_sizes"]) == 1


def test_an_unfinished_form_is_told_what_is_missing(alice_client, version):
    assert "Choose a data set and at least one detector" in _text(_panel(alice_client, version, models=[]))
    assert "is not stored yet" in _text(_panel(alice_client, version, dataset="builtin:fields"))
    assert "Correct the input size" in _text(_panel(alice_client, version, input_size="65"))
    assert "RetinaNet" in _text(_panel(alice_client, version, minutes=""))


def test_a_size_that_a_detector_cannot_take_is_said_in_its_row(alice_client, version):
    text = _text(_panel(alice_client, version, models=["ssd300_vgg16", RETINANET], input_size="128"))
    assert "ssd300_vgg16 has no cell left at an input of 128x128 px" in text
    assert "Fit anchors" in text


def test_a_data_set_whose_file_is_gone_is_said_in_the_row(alice_client):
    assert "The stored data set is gone; import it again." in _text(_panel(alice_client, make_dataset_version()))


def test_many_objects_are_sampled_and_it_says_so(alice_client, version, monkeypatch):
    from detection_core.operations import assignment
    from webapp.jobs import assignment as panel

    monkeypatch.setattr(assignment, "MOST_OBJECTS", 10)
    panel._report.cache_clear()
    text = _text(_panel(alice_client, version))
    panel._report.cache_clear()
    assert re.search(r"counted on \d+ of 42, in \d+ of 12 images drawn by seed", text)


def test_a_report_is_counted_once_for_each_version_model_and_size(alice_client, version, monkeypatch):
    from webapp.jobs import assignment as panel

    panel._report.cache_clear()
    counted = []
    real = panel.assignment_of
    monkeypatch.setattr(panel, "assignment_of", lambda model, *args, **more: counted.append(model) or real(model, *args, **more))
    for _ in range(2):
        _panel(alice_client, version)
    assert sorted(counted) == ["fcos_resnet10_fpn", RETINANET]
    _panel(alice_client, version, input_size="96")
    assert len(counted) == 4


def test_without_javascript_a_button_leads_to_the_page_with_the_panel_and_the_form_as_it_was(alice_client, version):
    page = alice_client.get("/jobs/new").content.decode()
    assert '<button class="button button-small" formmethod="get" formaction="/jobs/new/assignment">Show</button></noscript>' in page
    sent = _fields(version, seed="7", csrfmiddlewaretoken="secret", token="00000000-0000-0000-0000-000000000000")
    answer = alice_client.get("/jobs/new/assignment", sent)
    assert answer.status_code == 302
    assert "secret" not in answer.url and "token" not in answer.url
    shown = alice_client.get(answer.url)
    assert "Objects of the train split" in _text(shown)
    html = shown.content.decode()
    assert 'name="seed" value="7"' in html
    assert re.search(rf'value="{RETINANET}" id="[^"]+" checked', html)
    link = unescape(re.search(rf'id="fit-{RETINANET}" href="([^"]+)"', html).group(1))
    fitted = alice_client.get(link, follow=True)
    assert 'name="anchors"' in fitted.content.decode()
    assert 'name="seed" value="7"' in fitted.content.decode()


def test_crowds_are_no_objects(version):
    from webapp.datasets import archive

    whole = split_of(version.artifact_id, "train")
    index = archive.archive_index(version.artifact_id)
    index.iscrowd[0] = True
    try:
        assert len(split_of(version.artifact_id, "train").boxes) == len(whole.boxes) - 1
    finally:
        index.iscrowd[0] = False


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_in_a_browser_the_panel_follows_the_form_and_anchors_are_fitted_by_keyboard(browser, live_server, alice, version, scheme, width):
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(f"{live_server.url}/login")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)
    page.goto(f"{live_server.url}/jobs/new?dataset=version:{version.uuid}&models={RETINANET}")
    page.get_by_role("link", name="Fit anchors").wait_for()
    page.get_by_label("Input size, px").fill("64")
    page.locator("#assignment td[data-label='Input, px']", has_text="64").wait_for()
    page.get_by_role("link", name="Fit anchors").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Train RetinaNet ResNet-10 with anchors").wait_for()
    page.get_by_text("Level by level", exact=True).click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.get_by_role("button", name="Queue the pipeline").click()
    page.wait_for_url("**/suites/*")
    assert Job.objects.get(kind="train").spec["recipe"]["model_options"]["anchor_sizes"]
    context.close()


def test_objects_that_lost_their_places_to_others_are_told_from_those_that_no_place_is_near():
    counts = ObjectCounts(objects=8, collided=2, unreached=1, unmatched=None, unmatched_own=None, positives=9)
    found = shares("all", counts)
    assert (found.collided, found.unreached, found.lost) == ("25.0", "12.5", "37.5")
