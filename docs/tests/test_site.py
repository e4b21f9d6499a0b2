"""The built site in a real browser, as a reader meets it: `make site-test`. Chromium without a window, driven by Playwright."""

import base64
import functools
import gzip
import http.server
import itertools
import json
import os
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import numpy as np
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

COURSE = Path(__file__).resolve().parents[2]
SITE = COURSE / "build" / "site"
HTML = SITE / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
LESSONS = [f"notebooks/{path.stem}.html" for path in sorted((COURSE / "notebooks").glob("*.ipynb"))]
WIDTHS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
MOST_BYTES = 1.5e6  # of a page with all that it loads, as a server that compresses text sends it
DEMO_BYTES = 8e6
TOLERANCE = 1e-4

with_demo = pytest.mark.skipif(not (HTML / "_static" / "demo" / "demo.json").is_file(), reason="built without trained models")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    """The site as `python -m http.server` serves it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("these tests need Chromium: install it (Debian's package is chromium), or name its program in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens a page of the site; fails at the end where one wrote an error to its console or asked another machine for anything."""
    wrong, contexts = [], []

    def open_page(name, width="desktop", **options):
        context = browser.new_context(viewport=WIDTHS[width], **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"{name}: {message.text}") if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(f"{name}: {error}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith((address, "data:", "blob:")) else wrong.append(f"{name}: {request.url}"),
        )
        page.on("response", lambda response: wrong.append(f"{response.url}: {response.status}") if response.status >= 400 else None)
        page.goto(address + name, wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def soup(name):
    return BeautifulSoup((HTML / name).read_text(encoding="utf-8"), "html.parser")


# ---------------------------------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_at_both_widths_without_error_or_foreign_address_and_does_not_scroll_sideways(visit, name):
    for width in WIDTHS:
        page = visit(name, width)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]["width"], f"{name} scrolls sideways on a {width}"


def test_every_link_within_the_site_leads_somewhere():
    anchors = {name: {tag["id"] for tag in soup(name).find_all(id=True)} for name in PAGES}
    wrong = []
    for name in PAGES:
        for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for found in soup(name).find_all(tag, **{attribute: True}):
                target, anchor = urldefrag(urljoin(f"http://site/{name}", found[attribute]))
                if urlparse(target).netloc != "site" or target.startswith("data:"):
                    continue
                path = unquote(urlparse(target).path).lstrip("/") or "index.html"
                if not (HTML / path).is_file() or (anchor and path in anchors and unquote(anchor) not in anchors[path]):
                    wrong.append(f"{name}: {found[attribute]}")
    assert wrong == []


def test_nothing_is_loaded_from_elsewhere():
    for name in PAGES:
        for tag, attribute in (("img", "src"), ("script", "src"), ("iframe", "src")):
            assert [found[attribute] for found in soup(name).find_all(tag, **{attribute: re.compile(r"^(https?:)?//")})] == [], name
        styles = [found["href"] for found in soup(name).find_all("link", rel=re.compile("stylesheet|preload|icon|preconnect"))]
        assert [href for href in styles if re.match(r"(https?:)?//", href)] == [], name


@pytest.mark.parametrize("name", PAGES)
def test_no_hidden_comment_of_the_sources_reaches_a_reader(name):
    assert re.findall(r"<!--[=?:/].{0,60}|&lt;!--.{0,60}", (HTML / name).read_text(encoding="utf-8")) == []


def test_a_page_and_all_that_it_loads_stay_light(visit, address):
    weights = {}
    for name in [name for name in PAGES if name != "demo.html"]:
        page = visit(name)
        page.wait_for_timeout(500)
        urls = {name, *page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")}
        files = {HTML / unquote(urlparse(urljoin(address, url)).path).lstrip("/") for url in urls if not url.startswith(("data:", "blob:"))}
        weights[name] = sum(sent(path) for path in files if path.is_file())
    print(json.dumps(weights, indent=1))
    assert {name: weight for name, weight in weights.items() if weight > MOST_BYTES} == {}


def sent(path):
    """Bytes of a file on its way: text is compressed, as GitHub Pages does it."""
    data = path.read_bytes()
    return len(gzip.compress(data)) if path.suffix in (".html", ".js", ".mjs", ".css", ".svg", ".json") else len(data)


# ------------------------------------------------------------------------------------------------------------------------- lessons


@pytest.mark.parametrize("name", LESSONS)
def test_every_picture_of_a_lesson_has_its_description(name):
    notebook = json.loads((COURSE / name).with_suffix(".ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    wanted = [output["metadata"].get("image/png", {}).get("alt") for output in outputs]
    shown = [image.get("alt") for image in soup(name).select(".cell_output img")]
    assert len(shown) == len(wanted)
    assert [alt for alt in wanted if alt and alt not in shown] == []


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_opens_in_colab_at_the_courses_address(name):
    links = [link["href"] for link in soup(name).find_all("a", href=re.compile("colab"))]
    [address] = {link.split("/blob/")[0].split("colab.research.google.com/github/")[1] for link in links}
    assert f'"https://github.com/{address}"' in (COURSE / "pyproject.toml").read_text(encoding="utf-8")
    assert any(link.endswith(f"/blob/main/{name.replace('.html', '.ipynb')}") for link in links)


def test_formulas_are_set_without_errors(visit):
    for name in LESSONS:
        page = visit(name)
        page.wait_for_function("window.MathJax === undefined || (MathJax.startup && MathJax.startup.promise)")
        page.evaluate("window.MathJax ? MathJax.startup.promise : null")
        assert page.locator("mjx-merror").count() == 0, name
        assert page.locator("span.math, div.math").count() <= page.locator("mjx-container").count(), name


def test_lessons_follow_each_other():
    for name, following in itertools.pairwise(LESSONS):
        assert soup(name).select_one("a.right-next")["href"] == Path(following).name
        assert soup(following).select_one("a.left-prev")["href"] == Path(name).name


def test_search_finds_a_term(visit):
    page = visit("search.html?q=reparameterisation")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(each => each.getAttribute('href'))")
    assert any("04_vae" in href for href in found)


def test_dark_mode_is_dark(visit):
    page = visit("index.html", color_scheme="dark")
    page.wait_for_timeout(300)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 80


# ---------------------------------------------------------------------------------------------------------------------- the demo


def floats(text, shape=(-1, 784)):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


@pytest.fixture
def demo(visit):
    page = visit("demo.html")
    page.wait_for_selector("#demo[data-state=ready]", timeout=60_000)
    return page


@with_demo
def test_the_page_restores_the_same_pixels_as_keras_and_says_the_same_psnr(demo):
    expected = json.loads((SITE / "expected.json").read_text())
    clean, noisy = floats(expected["clean"]), floats(expected["noisy"])
    asked = """async ([clean, noisy]) => {
        const { psnr } = await import(new URL("_static/demo/noise.js", location));
        const found = {};
        for (const [name, denoise] of Object.entries(courseDemo.models.denoisers)) {
            found[name] = [];
            for (let i = 0; i < noisy.length; i++) {
                const image = Float32Array.from(await denoise(Float32Array.from(noisy[i])));
                found[name].push({ pixels: [...image], psnr: psnr(Float32Array.from(clean[i]), image) });
            }
        }
        return found;
    }"""
    found = demo.evaluate(asked, [clean.tolist(), noisy.tolist()])
    assert found.keys() == expected["models"].keys()
    for name, wanted in expected["models"].items():
        pixels = np.array([each["pixels"] for each in found[name]])
        assert np.abs(pixels - floats(wanted["pixels"])).max() < TOLERANCE, name
        assert [f"{each['psnr']:.2f}" for each in found[name]] == [f"{score:.2f}" for score in wanted["psnr"]], name


@with_demo
def test_noise_in_the_page_is_that_of_the_course(demo):
    asked = """async (kinds) => {
        const { addNoise, draw } = await import(new URL("_static/demo/noise.js", location));
        const image = Float32Array.from({ length: 784 }, (_, i) => (i % 11) / 10);
        const chance = draw(7);
        const found = { image: [...image], flat: [...chance.flat], drawn: [...chance.normal], kinds: {} };
        found.normal = [...draw(7, 100000).normal];
        for (const kind of kinds) found.kinds[kind] = [...addNoise(image, kind, 0.3, chance)];
        return found;
    }"""
    found = demo.evaluate(asked, ["gaussian", "salt_and_pepper", "masking", "speckle"])
    image, flat, normal = (np.array(found[key]) for key in ("image", "flat", "drawn"))
    formulas = {  # dae_keras/noise.py
        "gaussian": image + 0.3 * normal,
        "salt_and_pepper": np.where(flat < 0.15, 0, np.where(flat > 0.85, 1, image)),
        "masking": np.where(flat < 0.3, 0, image),
        "speckle": image + 0.3 * image * normal,
    }
    for kind, wanted in formulas.items():
        np.testing.assert_allclose(found["kinds"][kind], np.clip(wanted, 0, 1), atol=1e-6, err_msg=kind)
    many = np.array(found["normal"])
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 1) < 0.01
    assert abs(np.mean(many < 1) - 0.8413) < 0.005
    assert abs(flat.mean() - 0.5) < 0.04


def drawn(page, strokes):
    """Draw with the mouse, in shares of the drawing area."""
    page.locator("#demo-drawing").scroll_into_view_if_needed()
    frame = page.locator("#demo-drawing").bounding_box()
    for stroke in strokes:
        points = [(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=6)
        page.mouse.up()
    page.wait_for_timeout(300)


SEVEN = [[(0.25, 0.2), (0.7, 0.2), (0.45, 0.85)]]


@with_demo
def test_a_drawn_digit_is_prepared_restored_and_scored(demo):
    drawn(demo, SEVEN)
    state = demo.evaluate(
        "({ clean: [...courseDemo.clean], noisy: [...courseDemo.noisy], scores: courseDemo.scores, "
        "restored: Object.fromEntries(Object.entries(courseDemo.restored).map(([name, image]) => [name, [...image]])) })"
    )
    clean = np.array(state["clean"]).reshape(28, 28)
    rows, columns = np.nonzero(clean)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert np.abs(np.average(np.argwhere(clean > -1), axis=0, weights=clean.ravel()) - 14).max() <= 0.75
    for name, image in state["restored"].items():
        error = np.mean((np.clip(image, 0, 1) - clean.ravel()) ** 2)
        assert state["scores"][name] == pytest.approx(-10 * np.log10(error), abs=1e-4)
        shown = demo.locator("#demo-results figure").nth(list(state["restored"]).index(name)).inner_text()
        assert f"{state['scores'][name]:.2f} dB" in shown
    assert min(state["scores"].values()) > -10 * np.log10(np.mean((np.array(state["noisy"]) - clean.ravel()) ** 2)) + 3


@with_demo
def test_a_finger_draws_and_does_not_scroll(visit):
    page = visit("demo.html", "phone", has_touch=True, is_mobile=True)
    page.wait_for_selector("#demo[data-state=ready]", timeout=60_000)
    page.locator("#demo-drawing").scroll_into_view_if_needed()
    frame, place = page.locator("#demo-drawing").bounding_box(), page.evaluate("scrollY")
    finger = page.context.new_cdp_session(page)
    for step in range(12):
        point = {"x": frame["x"] + frame["width"] * (0.3 + 0.03 * step), "y": frame["y"] + frame["height"] * (0.1 + 0.07 * step)}
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(500)
    assert page.evaluate("courseDemo.strokes.length") == 1
    assert page.evaluate("courseDemo.strokes[0].length") > 5
    assert page.evaluate("courseDemo.clean.some((pixel) => pixel === 1)")
    assert page.evaluate("scrollY") == place


@with_demo
def test_ink_is_prepared_as_the_course_prepares_that_of_a_photograph(demo):
    inks = json.loads((SITE / "expected.json").read_text())["inks"]
    assert len(inks) > 3
    asked = """async ({ width, height, pixels }) => {
        const { prepare } = await import(new URL("_static/demo/prepare.js", location));
        return [...prepare({ width, height, pixels: Float32Array.from(pixels) })];
    }"""
    for ink in inks:
        pixels = floats(ink["ink"], -1).tolist()
        found = demo.evaluate(asked, {"width": ink["width"], "height": ink["height"], "pixels": pixels})
        assert np.abs(np.array(found) - floats(ink["prepared"])).max() < TOLERANCE, (ink["width"], ink["height"])


@with_demo
def test_the_slider_and_the_kinds_change_the_noise_and_level_0_is_none(demo):
    demo.locator("#demo-level").fill("0")
    demo.wait_for_timeout(300)
    assert demo.locator("#demo-noisy-score").inner_text() == "no error"
    for kind in ("masking", "speckle", "salt_and_pepper", "gaussian"):
        demo.locator("#demo-kind").select_option(kind)
        demo.locator("#demo-level").fill("0.5")
        demo.wait_for_timeout(300)
        assert re.fullmatch(r"\d+\.\d\d dB", demo.locator("#demo-noisy-score").inner_text())


@with_demo
def test_the_square_decodes_what_lies_between_its_corners(demo):
    seen = []
    for x, y in ((0.02, 0.02), (0.98, 0.02), (0.02, 0.98), (0.98, 0.98), (0.5, 0.5)):
        demo.locator("#demo-square").hover(position={"x": x * 200, "y": y * 200})
        demo.wait_for_timeout(200)
        seen.append(demo.locator("#demo-decoded").evaluate("canvas => canvas.toDataURL()"))
    assert len(set(seen)) == 5


@with_demo
def test_a_digit_is_invented_as_the_course_does_it(demo):
    wanted = json.loads((SITE / "expected.json").read_text()).get("walk")
    if wanted is None:
        assert demo.locator("#demo-invention").is_hidden()
        pytest.skip("built without the denoiser for all levels")
    demo.locator("#demo-invent").click()
    demo.wait_for_function("courseDemo.invented?.length === courseDemo.levels.length", timeout=30_000)
    assert demo.locator("#demo-steps canvas").count() == len(wanted["levels"])
    last = np.array(demo.evaluate("[...courseDemo.invented.at(-1)]"))
    assert last.max() > 0.9
    assert np.mean(last < 0.1) > 0.5
    asked = """async ([start, levels]) => {
        const { walk } = await import(new URL("_static/demo/models.js", location));
        const answers = [];
        for await (const answer of walk(courseDemo.inventor, Float32Array.from(start), levels)) answers.push([...answer]);
        return answers;
    }"""
    starts, answers = floats(wanted["start"]), floats(wanted["answers"], (len(wanted["levels"]), -1, 784))
    for i, start in enumerate(starts):
        found = np.array(demo.evaluate(asked, [start.tolist(), wanted["levels"]]))
        assert np.abs(found[0] - answers[0, i]).max() < TOLERANCE
        # Each step goes on from the one before, and what the weights' rounding changes grows on the way.
        assert np.abs(found - answers[:, i]).max() < 10 * TOLERANCE


@with_demo
def test_the_demo_is_quick_and_small(visit, address):
    page = visit("demo.html")
    page.wait_for_selector("#demo[data-state=ready]", timeout=60_000)
    urls = {address + "demo.html", *page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")}
    files = {HTML / unquote(urlparse(url).path).lstrip("/") for url in urls if not url.startswith(("data:", "blob:"))}
    size = sum(sent(path) for path in files if path.is_file())
    page.reload()  # now from the cache
    page.wait_for_selector("#demo[data-state=ready]", timeout=60_000)
    opened = page.evaluate("courseDemo.opened")
    times = []
    for _ in range(20):
        page.locator("#demo-again").click()
        page.wait_for_timeout(50)
        times.append(page.evaluate("courseDemo.milliseconds"))
    print(f"demo: {size / 1e6:.2f} MB, ready after {opened:.0f} ms from the cache, four models in {np.median(times):.1f} ms")
    assert size < DEMO_BYTES
    assert opened < 10_000  # two seconds on a machine with nothing else to do
    assert np.median(times) < 250  # likewise 50 ms
