"""Looking at evaluated images in a real browser: the slider by mouse and keyboard, filters, arrow keys, side by side, accessibility."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from tests.axe import violations_in_both_schemes
from tests.factories import make_result
from tests.gallery_factories import make_evaluated, make_fields, make_scored
from webapp.gallery.counts import numbers_at, score_steps
from webapp.gallery.examples import examples_of
from webapp.results.selectors import output_of

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def fields():
    return make_fields(images=8, size=192)


@pytest.fixture
def evaluated(fields):
    return make_evaluated(fields, skill=0.7)


@pytest.fixture
def rival(fields):
    return make_evaluated(fields, model="ssd_resnet10", skill=0.2, seed=3)


@pytest.fixture
def problems(page) -> list[str]:
    """What the console tells of errors and refused styles or scripts."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def numbers_of(page) -> dict[str, str]:
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-number]')].map((b) => [b.dataset.number, b.textContent]))"
    )


def boxes_of(page) -> dict[str, int]:
    """Boxes that are seen on the page's pictures, and what the captions say of them."""
    return page.evaluate(
        """() => {
          const seen = (selector) => [...document.querySelectorAll(`.evaluated ${selector}`)]
            .filter((box) => box.closest("g").dataset.score !== undefined && getComputedStyle(box.closest("g")).display !== "none").length;
          const told = (name) => [...document.querySelectorAll(`.evaluated [data-count=${name}]`)]
            .reduce((sum, cell) => sum + Number(cell.textContent), 0);
          return {right: seen(".seen-tp rect"), all: seen(".seen:not(.seen-ignored) rect"), missed: seen(".truth.missed rect.under"),
                  told_right: told("right"), told_false: told("false"), told_missed: told("missed")};
        }"""
    )


def assert_together(page, evaluated, score: float) -> None:
    """Numbers, boxes and captions are all those of one score; eight images fit on a page, so they are those of the whole split."""
    expected = numbers_at(examples_of(output_of(evaluated.job, "examples")), score)
    numbers, boxes = numbers_of(page), boxes_of(page)
    assert (int(numbers["right"]), int(numbers["false"]), int(numbers["missed"])) == (expected.right, expected.false, expected.missed)
    assert numbers["precision"] == f"{100 * expected.precision:.1f}" and numbers["recall"] == f"{100 * expected.recall:.1f}"
    assert numbers["f1"] == f"{100 * expected.f1:.1f}" and numbers["false_per_image"] == f"{expected.false_per_image:.2f}"
    assert (boxes["right"], boxes["all"], boxes["missed"]) == (expected.right, expected.kept, expected.missed)
    assert (boxes["told_right"], boxes["told_false"], boxes["told_missed"]) == (expected.right, expected.false, expected.missed)


def slider_of(page):
    return page.get_by_role("slider", name="Score threshold")


def test_the_slider_starts_at_the_operating_point_and_moves_numbers_and_boxes_together_by_keyboard(page, live_server, evaluated, problems):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    steps = score_steps(examples_of(output_of(evaluated.job, "examples")))
    place = steps.index(evaluated.score_thresh)
    slider = slider_of(page)
    assert slider.input_value() == str(place)
    assert_together(page, evaluated, evaluated.score_thresh)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert_together(page, evaluated, steps[place + 1])
    for key, score in (("Home", steps[0]), ("ArrowUp", steps[1]), ("End", steps[-1]), ("ArrowLeft", steps[-2])):
        page.keyboard.press(key)
        if score < steps[-2]:
            assert_together(page, evaluated, score)
    assert numbers_of(page)["recall"] in slider.get_attribute("aria-valuetext")
    assert page.get_by_label("Score threshold").last.input_value() == re.search(r"score=([0-9.]+)", page.url)[1]
    assert problems == []


def test_the_mouse_moves_the_slider_and_a_number_can_be_typed(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    before = boxes_of(page)
    box = slider_of(page).bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    assert boxes_of(page)["all"] < before["all"]
    page.locator("#score").fill("0.4")
    page.locator("#score").press("Tab")
    assert_together(page, evaluated, 0.4)
    page.get_by_role("link", name="Operating point").click()
    assert_together(page, evaluated, evaluated.score_thresh)
    assert "score=" not in page.url


def test_the_score_goes_along_to_filters_list_and_images(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    page.locator("#score").fill("0.6")
    page.locator("#score").press("Tab")
    page.locator("select[name=shows]").select_option("miss")
    page.wait_for_url("**/images?*shows=miss*")
    assert "score=0.600" in page.url
    assert "listed at score 0.600" in page.locator("#listed-at").text_content()
    assert all(int(text) > 0 for text in page.locator("[data-count=missed]").all_text_contents())
    slider_of(page).focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="List at this score").click()
    page.wait_for_url("**score=0.605*")
    assert "shows=miss" in page.url
    page.locator(".gallery a").first.click()
    page.wait_for_url("**/images/*score=0.605*")
    assert page.locator("#score").input_value() == "0.605"


def test_reload_and_back_show_what_the_address_says(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    page.locator("#score").fill("0.6")
    page.locator("#score").press("Tab")
    page.reload()
    assert_together(page, evaluated, 0.6)
    page.locator(".gallery a").first.click()
    page.wait_for_url("**/images/*")
    page.go_back()
    page.wait_for_url("**/images?*")
    page.wait_for_function("document.getElementById('score').value === '0.600'")
    assert_together(page, evaluated, 0.6)


def test_filters_stand_in_the_address_and_can_be_cleared(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    every = page.locator(".gallery > li").count()
    page.locator("select[name=error]").select_option("cls")
    page.wait_for_url("**error=cls*")
    page.locator("select[name=class]").select_option("weed")
    page.wait_for_url("**class=weed*")
    assert "error=cls" in page.url and "size=" not in page.url
    assert page.locator(".gallery > li").count() < every
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/images")
    assert page.locator(".gallery > li").count() == every


def test_arrow_keys_turn_the_images_within_the_filter_but_not_from_the_slider(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images?shows=fp&sort=file")
    links = [link.get_attribute("href").split("?")[0] for link in page.locator(".gallery a").all()]
    page.locator(".gallery a").first.click()
    page.wait_for_url(f"**{links[0]}?*")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**{links[1]}?shows=fp&sort=file")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**{links[0]}?*")
    page.keyboard.press("ArrowLeft")  # nothing stands before the first
    slider_of(page).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert links[0] in page.url


def test_the_tables_of_an_image_follow_the_slider(page, live_server, evaluated, problems):
    number = evaluated.ground_truth["images"][0]["id"]
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images/{number}")
    shown = page.locator("tr[data-score]:visible").count()
    slider_of(page).focus()
    page.keyboard.press("Home")
    every = page.locator("tr[data-score]").count()
    assert page.locator("tr[data-score]:visible").count() == every > shown
    assert page.locator("[data-count=below]").text_content() == "0"
    page.keyboard.press("End")
    objects = page.locator("tr[data-found]").count()
    assert page.locator("[data-when=missed]:visible").count() >= objects - 1
    assert page.locator("tr[data-score]:visible").count() <= 1
    assert problems == []


def test_without_scripts_the_number_field_does_it(browser, live_server, evaluated):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images?sort=file")
    assert slider_of(page).count() == 0
    page.locator("#score").fill("0.6")
    page.get_by_role("button", name="List at this score").click()
    page.wait_for_url("**score=0.6*")
    assert "sort=file" in page.url
    expected = numbers_at(examples_of(output_of(evaluated.job, "examples")), 0.6)
    assert page.locator("[data-number=precision]").text_content() == f"{100 * expected.precision:.1f}"
    assert page.locator(".evaluated .seen-tp[data-score]:not(.off) rect").count() == expected.right
    context.close()


def sent_pictures(page) -> list[int]:
    """Bytes that came over the network for each picture of the page; 0 for one out of the browser's cache."""
    return page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.includes('/file')).map((one) => one.transferSize)"
    )


def test_pictures_are_scaled_and_a_second_look_does_not_ask_for_them_again(page, live_server):
    evaluated = make_evaluated(make_fields(images=3, size=1440), skill=0.7)
    page.set_viewport_size({"width": 1440, "height": 2400})
    address = f"{live_server.url}/evaluations/{evaluated.job.uuid}/images"
    page.goto(address, wait_until="networkidle")
    shown = page.evaluate("document.querySelector('.gallery img').currentSrc")
    assert Image.open(io.BytesIO(page.request.get(shown).body())).width == int(re.search(r"width=(\d+)", shown)[1]) < 1440
    assert len(sent_pictures(page)) == 3 and min(sent_pictures(page)) > 0
    page.goto(f"{live_server.url}/leaderboard")
    page.goto(address, wait_until="networkidle")
    assert sent_pictures(page) == [0, 0, 0]


def focus_by_tab(page, selector: str) -> None:
    """Press Tab until the element has the focus, as one without a mouse does."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached with Tab")


def test_filters_images_and_suspects_are_reached_by_keyboard_alone(page, live_server, evaluated, problems):
    address = f"{live_server.url}/evaluations/{evaluated.job.uuid}/images"
    page.goto(address)
    focus_by_tab(page, "select[name=shows]")
    page.keyboard.type("mis")
    page.wait_for_url("**shows=miss*")
    focus_by_tab(page, ".gallery a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/*shows=miss*")
    page.goto(address)
    focus_by_tab(page, "a[href$='/suspects']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/suspects")
    assert problems == []


def test_two_evaluations_are_set_side_by_side_by_keyboard_alone(page, live_server, evaluated, rival, problems):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    for selector, then in (
        ("a[href$='/differences']", "**/differences"),
        (f"a[href$='/differences/{rival.job.uuid}']", f"**/differences/{rival.job.uuid}"),
        ("a[href*='better=first']", "**better=first*"),
        (".pair a", "**/images/*"),
    ):
        focus_by_tab(page, selector)
        page.keyboard.press("Enter")
        page.wait_for_url(then)
    assert problems == []


def test_who_moves_the_slider_and_turns_the_page_goes_on_in_the_same_list(page, live_server, evaluated):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images?shows=fp")
    listed = [link.get_attribute("href").split("?")[0] for link in page.locator(".gallery a").all()]
    page.locator(".gallery a").first.click()
    page.wait_for_url(f"**{listed[0]}?*")
    slider_of(page).focus()
    page.keyboard.press("End")
    for address in listed[1:]:
        page.get_by_role("link", name="Next").click()
        page.wait_for_url(f"**{address}?*")
    assert page.get_by_role("link", name="Next").count() == 0 and "score=" in page.url


@pytest.mark.parametrize(("asked", "reads"), [("0,5", "0.500"), ("nonsense", None)])
def test_a_score_in_the_address_means_to_the_script_what_it_means_to_the_server(page, live_server, evaluated, problems, asked, reads):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images?score={asked}")
    page.keyboard.press("Quote")
    page.keyboard.press("Backslash")
    score = float(reads) if reads else evaluated.score_thresh
    assert_together(page, evaluated, score)
    assert f"listed at score {page.locator('#score').input_value()}" in page.locator("#listed-at").text_content()
    assert problems == []


def test_two_evaluations_stand_side_by_side_and_lead_to_their_images(page, live_server, evaluated, rival, problems):
    page.goto(f"{live_server.url}/evaluations/{evaluated.job.uuid}/images")
    page.get_by_role("link", name="Beside another evaluation").click()
    page.get_by_role("link", name="SSD ResNet-10").click()
    page.wait_for_url(f"**/differences/{rival.job.uuid}")
    pairs = page.locator(".pair")
    assert pairs.count() > 0
    told = [int(re.match(r"(\d+) error", text)[1]) for text in page.locator(".pair strong").all_text_contents()]
    gaps = [abs(first - second) for first, second in zip(told[::2], told[1::2], strict=True)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] > 0
    page.get_by_role("link", name="fewer errors on the left").click()
    page.wait_for_url("**better=first*")
    pairs.first.locator("a").last.click()
    page.wait_for_url(f"**/evaluations/{rival.job.uuid}/images/*")
    assert problems == []


@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_violation_and_nothing_runs_over_the_edge(browser, live_server, evaluated, rival, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    scored = make_scored(
        evaluated.ground_truth, evaluated.detections, name="a-results-file-with-a-name-that-is-far-too-long-for-any-page.json"
    )
    mine = f"/evaluations/{evaluated.job.uuid}"
    bare = make_result().evaluation.job
    paths = [f"{mine}/images", f"{mine}/images?error=both&class=weed&size=large", f"{mine}/suspects", f"{mine}/differences"]
    paths += [f"{mine}/images/{evaluated.ground_truth['images'][0]['id']}", f"{mine}/differences/{rival.job.uuid}"]
    paths += [f"{mine}/differences/{evaluated.job.uuid}", f"/evaluations/{scored.uuid}/images", f"/evaluations/{scored.uuid}/differences"]
    paths += [f"/evaluations/{bare.uuid}/images"]
    for path in paths:
        page.goto(live_server.url + path)
        assert violations_in_both_schemes(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    context.close()
