"""The report in a browser: it renders, plays, filters, sorts, says nothing and asks for nothing."""

from __future__ import annotations

import re

import pytest

from tests.reports.html.made import CLASSES, make_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on disk."""
    return make_report(tmp_path_factory.mktemp("images")).save(tmp_path_factory.mktemp("a report"))


def says(page) -> str:
    return page.locator("#film-says").inner_text()


def regions(page, name: str) -> list[str]:
    return page.locator(f"#{name} .region").all_inner_texts()


def test_the_page_renders_and_is_silent(report, open_page, surroundings):
    opened = open_page(report, *surroundings)
    page = opened.page
    assert page.title().startswith("What was hard: <model> & 'friends'")
    assert page.locator("#film-class option").all_inner_texts() == list(CLASSES)
    assert "Training 1 of" in says(page) and len(regions(page, "came")) > 3
    assert page.locator("#histogram .negatives").count() > 10
    page.locator("#came img").first.wait_for()
    assert page.evaluate("document.querySelector('#came img').naturalWidth") > 50
    page.locator("#film-next").click()
    page.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true })")
    page.locator("#hardest img").last.scroll_into_view_if_needed()
    # What the scheme asks for: text is light on dark, or dark on light.
    style = "[getComputedStyle(document.body), getComputedStyle(document.querySelector('.chart text'))]"
    colours = page.evaluate(f"(([body, text]) => [body.backgroundColor, text.fill])({style})")
    paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (paper < ink) == (surroundings[1] == "dark") and abs(paper - ink) > 400
    opened.check_silent()
    opened.check_fits()


def test_the_film_is_scrubbed_and_played_by_mouse_and_keys(report, open_page):
    opened = open_page(report)
    page = opened.page
    slider = page.locator("#film-frame")
    trainings = int(slider.get_attribute("max")) + 1
    assert trainings > 3 and page.locator("#film-back").is_disabled()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert f"Training 2 of {trainings}" in says(page)
    assert slider.get_attribute("aria-valuetext") == f"training 2 of {trainings}"
    page.keyboard.press("End")
    assert f"Training {trainings} of" in says(page) and page.locator("#film-next").is_disabled()
    page.locator("#film-back").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert f"Training {trainings - 2} of" in says(page)
    cursor = page.locator(".of-class:visible .cursor").first.bounding_box()["x"]
    page.locator("#film-next").click()
    assert page.locator(".of-class:visible .cursor").first.bounding_box()["x"] > cursor + 20
    page.locator("#film-class").select_option(CLASSES[2])
    assert "Training 1 of" in says(page) and page.locator(".of-class:visible").count() == 2
    page.clock.install()
    page.locator("#film-play").click()
    assert page.locator("#film-play").inner_text() == "Pause"
    page.clock.run_for(1500)
    assert "Training 2 of" in says(page)
    page.clock.run_for(60_000)
    assert page.locator("#film-play").inner_text() == "Play" and page.locator("#film-next").is_disabled()
    opened.check_silent()


def test_filters_leave_what_they_name(report, open_page):
    opened = open_page(report)
    page = opened.page
    page.locator("#film-next").click()
    page.locator("#came .more button").click()
    everything = regions(page, "came")
    assert len(everything) > 12
    image = re.search(r"image (.*)", everything[0])[1]
    page.locator("#filter-image").fill(image)
    some = regions(page, "came")
    assert some == [text for text in everything if image in text] and 0 < len(some) < len(everything)
    assert re.fullmatch(r"\d of \d trainings have some", page.locator("#filter-says").inner_text())
    page.locator("#filter-clear").click()
    assert regions(page, "came") == everything[:12]
    scores = [float(re.match(r"[−\d.]+", text)[0].replace("−", "-")) for text in everything]
    assert scores == sorted(scores, reverse=True)
    page.locator("#filter-score").fill(str((scores[2] + scores[3]) / 2))
    assert regions(page, "came") == everything[:3]
    page.locator("#filter-clear").click()
    page.locator("#filter-support").check()
    kept = regions(page, "came")
    assert 0 < len(kept) < len(everything)
    page.locator("#came .region").first.click()
    assert "It is a support vector at the end" in page.locator("#life").inner_text()
    opened.check_silent()


def test_a_region_tells_its_story_and_leads_to_its_trainings(report, open_page):
    opened = open_page(report)
    page = opened.page
    left = page.locator("#left .region").first
    left.focus()
    page.keyboard.press("Enter")
    story = page.locator("#life").inner_text()
    assert "came in: not scored before" in story and "Training 1 left" in story and "row " in story
    page.keyboard.press("Escape")
    assert not page.locator("#life").is_visible()
    assert left.evaluate("element => element === document.activeElement")
    page.locator("#hardest .region").first.click()
    page.locator("#life-events button").first.click()
    assert not page.locator("#life").is_visible()
    opened.check_silent()


def test_the_hardest_negatives_are_sorted(report, open_page):
    opened = open_page(report)
    page = opened.page

    def values(name: str) -> list[str]:
        items = page.locator("#hardest details").first.locator("li")
        return items.evaluate_all(f"items => items.map((item) => item.dataset.{name})")

    assert values("score") == sorted(values("score"), key=float, reverse=True)
    page.locator("#hardest-sort").select_option("overlap")
    assert values("overlap") == sorted(values("overlap"), key=float, reverse=True)
    assert values("score") != sorted(values("score"), key=float, reverse=True)
    page.locator("#hardest-sort").select_option("image")
    images = page.evaluate("ids => [...ids].sort((a, b) => a.localeCompare(b))", values("image"))
    assert values("image") == images
    page.locator("#hardest details").evaluate_all("all => all.forEach((details) => { details.open = true })")
    shown = page.locator("#hardest .sortable > li:visible")
    everything = shown.count()
    for why, says in (("look-alike", "look-alike: "), ("suspect", " suspect\n")):
        page.locator("#hardest-why").select_option(why)
        assert 0 < shown.count() < everything and all(says in text for text in shown.all_inner_texts())
    opened.check_silent()


def test_tables_are_sorted_and_errors_chosen_by_kind(report, open_page):
    opened = open_page(report)
    page = opened.page
    table = page.locator("table.sorts").first

    def column(number: int) -> list[str]:
        return table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()

    def figure(text: str) -> float:
        return float("-inf" if text == "-" else text)  # a class without objects has no AP

    for number, value in ((2, figure), (7, figure), (1, str)):
        heading = table.locator("thead th").nth(number - 1)
        for way in ("descending", "ascending"):
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == way and table.locator("[aria-sort]").count() == 1
            assert column(number) == sorted(column(number), key=value, reverse=way == "descending")
    assert len(column(1)) == len(CLASSES) and table.locator("tfoot tr").count() == 1
    page.locator("#errors details").evaluate_all("all => all.forEach((details) => { details.open = true })")
    shown = page.locator("#errors .cases > li:visible")
    everything = shown.count()
    page.locator("#cases-kind").select_option("missed")
    assert 0 < shown.count() < everything
    assert all(text.startswith("missed") for text in shown.all_inner_texts())
    page.locator("#cases-kind").select_option("")
    assert shown.count() == everything
    picture = page.locator(".pictures img").last
    picture.scroll_into_view_if_needed()
    # The page allows no code from text, which waiting for an expression would be.
    for _ in range(100):
        if picture.evaluate("image => image.naturalWidth") > 300:
            break
        page.wait_for_timeout(100)
    assert picture.evaluate("image => image.naturalWidth") > 300
    opened.check_silent()
