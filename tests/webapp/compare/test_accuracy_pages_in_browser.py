"""Accuracy, comparison and published figures in a real browser: accessible, quiet, as wide as the screen, light and dark."""

from __future__ import annotations

import pytest

from tests.accuracy_factories import draws_around, give_accuracy
from tests.axe import violations_in_both_schemes
from tests.factories import make_dataset_version, make_environment, make_result
from tests.own_folders import own_folders

__all__ = ["own_folders"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture
def paths() -> list[str]:
    """The addresses, with what three evaluations on the same images found."""
    version, machine = make_dataset_version("coco-mini"), make_environment()
    models = (("fcos_resnet10_fpn", 0.45, 31.0), ("ssd_resnet10", 0.40, 22.0), ("yolox_nano", 0.449, 25.0))
    rows = [make_result(model, ap=ap, p50_ms=p50, dataset_version=version, environment=machine) for model, ap, p50 in models]
    found = [give_accuracy(row, draws=draws_around(row.ap, own=0.004), examples={}) for row in rows]
    chosen = ",".join(str(row.uuid) for row in found)
    return [
        f"/results/{found[0].uuid}",
        f"/evaluations/{found[1].evaluation.job.uuid}",
        f"/compare?results={chosen}",
        f"/compare?results={chosen}&show=all&number=ap_small",
        "/compare",
        "/published?hardware=NVIDIA+V100",
        "/models/fcos_resnet50_fpn",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_pages_are_accessible_and_quiet(browser, live_server, paths, size):
    context = browser.new_context(base_url=live_server.url, viewport=SIZES[size])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for path in paths:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert violations_in_both_schemes(page) == [], path
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), f"{path} is too wide"
    context.close()
    assert said == []


def test_a_comparison_grows_and_shrinks_by_keyboard(page, live_server):
    version = make_dataset_version()
    models = (("fcos_resnet10_fpn", 0.45), ("ssd_resnet10", 0.40))
    one, other = (give_accuracy(make_result(model, ap=ap, dataset_version=version)) for model, ap in models)
    page.goto(f"{live_server.url}/compare?results={one.uuid}")
    page.get_by_label("Add").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**add={other.uuid}**")
    assert page.get_by_role("columnheader").filter(has_text="SSD ResNet-10").is_visible()
    page.get_by_role("link", name="take out").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**results={other.uuid}")
