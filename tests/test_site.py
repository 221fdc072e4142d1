"""The site opens from files: figures drawn, equations set, a slider that moves, no network."""

import importlib.util
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PLOTLY = "application/vnd.plotly.v1+json"
RAW_TEX = r"\$[^$\n]+\$|\\[a-zA-Z]{2,}"
PHONE, DESKTOP = {"width": 390, "height": 800}, {"width": 1280, "height": 900}
TEXT = """() => {
    const copy = document.body.cloneNode(true);
    copy.querySelectorAll("script, pre, code, .figure").forEach((part) => part.remove());
    return copy.textContent;
}"""
STATE = """plot => JSON.stringify([
    plot.data.map(trace => [...trace.y]), plot.layout.sliders[0].active ?? 0
])"""


def make_site():
    """The module docs/make_site.py."""
    path = ROOT / "docs" / "make_site.py"
    spec = importlib.util.spec_from_file_location("make_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_slider():
    """A line that three frames move."""
    figure = go.Figure(go.Scatter(x=[0, 1, 2], y=[0, 0, 0]))
    figure.frames = [
        go.Frame(name=str(n), data=[go.Scatter(x=[0, 1, 2], y=[0, n, 0])]) for n in range(3)
    ]
    at = {"mode": "immediate", "frame": {"duration": 0}, "transition": {"duration": 0}}
    steps = [{"label": f.name, "method": "animate", "args": [[f.name], at]} for f in figure.frames]
    return figure.update_layout(
        width=900, height=400, sliders=[{"steps": steps}], title_text="Film"
    )


def executed():
    """A notebook as it ran, with a figure of each kind."""
    scene = go.Figure(go.Scatter3d(x=[0, 1], y=[0, 1], z=[0, 1])).update_layout(width=900)
    pixels = [[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [0, 0, 0]]]
    cells = [
        new_markdown_cell(
            "# 98 · A trial\n\n**Question.** Does it work?\n\n$$\\bar\\alpha_s = 1$$"
        ),
        new_markdown_cell("[the chain](04a_the_chain.ipynb), [none](no.ipynb), costs 5 $"),
    ]
    for figure in (with_slider(), scene, go.Figure(go.Image(z=pixels))):
        data = nbformat.from_dict({PLOTLY: json.loads(figure.to_json())})
        cells.append(new_code_cell("figure", outputs=[new_output("display_data", data)]))
    return new_notebook(cells=cells)


def checkout(folder, notebooks):
    """What the site is made of: notebooks, a trial among them, and some results."""
    there = folder / "reports" / "lesson" / "synthetic"
    there.mkdir(parents=True)
    for notebook in notebooks:
        shutil.copy(notebook, there)
    nbformat.write(executed(), there / "98_trial.ipynb")
    (folder / "docs").mkdir()
    for name in ("README.md", "docs/result.png", "docs/results.md"):
        shutil.copy(ROOT / name, folder / name)
    results = folder / "results" / "lesson" / "synthetic"
    results.mkdir(parents=True)
    for name in ("pose_tokenizer.json", "evaluation_summary.json", "pose_tokenizer_history.csv"):
        shutil.copy(ROOT / "results" / "lesson" / "synthetic" / name, results)
    shutil.copy(ROOT / "results" / "ledger.csv", folder / "results")
    return folder


def built(root, site, monkeypatch=None):
    """The folder of a site that was made, without pictures where `monkeypatch` is given."""
    made = make_site()
    if monkeypatch:
        monkeypatch.setattr(made, "BROWSERS", ())
    site.mkdir()
    made.build(root, site)
    return site


@pytest.fixture
def stored(tmp_path):
    """A checkout with the notebook of equations, and one that names it."""
    equations = ROOT / "notebooks" / "04a_the_chain.ipynb"
    return checkout(tmp_path / "stored", [equations])


def test_every_link_leads_to_a_page_and_nothing_is_loaded_from_elsewhere(stored, monkeypatch):
    site = built(stored, stored / "site", monkeypatch)
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 2 + 3 + 4  # notebooks, the index and two more, tables
    for page in pages:
        text = page.read_text(encoding="utf-8")
        shown = re.sub(r"<script type.*?</script>", "", text, flags=re.DOTALL)
        for kind, link in re.findall(r'\b(src|href)="([^"]*)"', shown):
            if not re.match(r"#|data:", link) and not (kind == "href" and "://" in link):
                assert (page.parent / unquote(link.split("#")[0])).is_file(), f"{page.name}: {link}"
    trial = (site / "lesson" / "synthetic" / "98_trial.html").read_text(encoding="utf-8")
    assert '<a href="04a_the_chain.html">the chain</a>, none' in trial
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "<strong>98 · A trial</strong>\n<span>Does it work?</span>" in index


def test_the_same_reports_give_the_same_bytes(stored, monkeypatch):
    first, again = (built(stored, stored / name, monkeypatch) for name in ("first", "again"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_without_reports_it_says_what_writes_them(tmp_path):
    with pytest.raises(ValueError, match="must hold executed notebooks, as `make repro` writes"):
        built(tmp_path, tmp_path / "site")


def test_a_notebook_without_a_heading_is_refused(tmp_path):
    folder = tmp_path / "reports" / "lesson" / "synthetic"
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("No title.")]), folder / "01_a.ipynb")
    with pytest.raises(ValueError, match="01_a.ipynb must have a heading that starts with `# `"):
        built(tmp_path, tmp_path / "site")


def test_what_is_missing_is_said_in_a_sentence_each(stored, monkeypatch, capsys):
    made = make_site()
    monkeypatch.setattr(made, "BROWSERS", ())
    monkeypatch.setattr(made, "MATHJAX", ("no-such-package", "file.js"))
    (stored / "site").mkdir()
    made.build(stored, stored / "site")
    assert capsys.readouterr().out == (
        "Equations stay TeX: the package no-such-package is not installed.\n"
        "The index has no pictures: Chromium is not installed.\n"
    )
    assert "mathjax" not in (stored / "site/lesson/synthetic/98_trial.html").read_text("utf-8")
    assert "<img" not in (stored / "site/index.html").read_text("utf-8").split("cards")[1]


@pytest.mark.parametrize(
    ("figures", "largest"),
    [
        ('<div class="figure">a</div><p>much text</p><div class="figure">bb</div>', (".figure", 1)),
        ('<div class="figure">bb</div><div class="figure">a</div>', (".figure", 0)),
        ('<div class="output_png"><img src="a"></div>', (".output_png img", 0)),
        ("<table></table>", None),
    ],
)
def test_the_largest_figure_of_a_notebook_stands_for_it(figures, largest):
    assert make_site().figure_of(figures) == largest


# --- in a browser

needs_chromium = pytest.mark.skipif(
    not make_site().chromium(), reason="Chromium is not installed: `make site-tools`"
)


def open_browser(playwright):
    made = make_site()
    return playwright.chromium.launch(executable_path=made.chromium(), args=made.DRAWS_3D)


def watched(browser, **options):
    """A tab without a network, and a list of what goes wrong in it."""
    tab = browser.new_page(offline=True, **options)
    tab.set_default_timeout(120_000)
    wrong = []
    tab.on("console", lambda told: told.type == "error" and wrong.append(told.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "request",
        lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or wrong.append(asked.url),
    )
    return tab, wrong


def settled(tab, page):
    """Open a page and wait until its equations are set."""
    tab.goto(page.as_uri())
    if tab.locator("script[src$='mathjax.js']").count():
        tab.wait_for_selector("html[data-typeset]", state="attached")
    return tab


def figures(tab):
    """Each figure, drawn after it has come near."""
    for figure in tab.locator(".figure").all():
        figure.scroll_into_view_if_needed()
        figure.and_(tab.locator("[data-drawn]")).wait_for()
        yield figure.locator(".plot")


def colours(figure):
    """How many colours a figure shows."""
    return len(Image.open(io.BytesIO(figure.screenshot())).convert("RGB").getcolors(1 << 24))


def move_slider(tab, plot):
    """Pull a figure's slider from its first to its last place."""
    grip = plot.locator(".slider-grip-rect").bounding_box()
    rail = plot.locator(".slider-rail-touch-rect").bounding_box()
    tab.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(rail["x"] + rail["width"] - 2, grip["y"] + grip["height"] / 2, steps=5)
    tab.mouse.up()


@pytest.fixture(params=["as stored", "as they ran"])
def site(request, tmp_path):
    folder = {"as stored": "notebooks", "as they ran": "reports/lesson/synthetic"}[request.param]
    notebooks = sorted((ROOT / folder).glob("*.ipynb"))
    if not notebooks:
        pytest.skip("no executed notebooks in reports/: `make repro`")
    return built(checkout(tmp_path / "checkout", notebooks), tmp_path / "site")


@pytest.mark.slow
@needs_chromium
def test_a_browser_without_network_shows_every_page_whole(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        tab, wrong = watched(browser, viewport=DESKTOP)
        equations = drawn = 0
        for page in sorted(site.rglob("*.html")):
            settled(tab, page)
            text = tab.evaluate(TEXT)
            assert not re.search(RAW_TEX, text), f"{page.name}: {re.search(RAW_TEX, text)}"
            assert not tab.locator("[data-mml-node='merror']").count(), page.name
            equations += tab.locator("mjx-container").count()
            for figure in figures(tab):
                assert colours(figure) > 8, f"{page.name}: figure {drawn} is blank"
                drawn += 1
            tab.set_viewport_size(PHONE)
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE["width"], f"{page.name} is {wide} px wide on a phone"
            tab.set_viewport_size(DESKTOP)
            assert not wrong, f"{page.name}: {wrong}"
        notebooks = [path.read_text("utf-8") for path in site.glob("lesson/synthetic/*.html")]
        assert drawn == sum(text.count('<div class="figure"') for text in notebooks) >= 3
        assert equations > 20
        assert len(list(site.glob("assets/pictures/*98_trial.html-*.jpg"))) == 2


@pytest.mark.slow
@needs_chromium
def test_a_slider_moves_what_it_belongs_to_and_the_theme_changes_it(stored, monkeypatch):
    from playwright.sync_api import sync_playwright

    site = built(stored, stored / "site", monkeypatch)
    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        tab, wrong = watched(browser, viewport=DESKTOP, color_scheme="light")
        settled(tab, site / "lesson/synthetic/98_trial.html")
        plot = next(figures(tab))
        assert plot.evaluate(STATE) == "[[[0,0,0]],0]"
        move_slider(tab, plot)
        tab.wait_for_function("document.querySelector('.plot').layout.sliders[0].active === 2")
        assert plot.evaluate(STATE) == "[[[0,2,0]],2]"
        paper = "getComputedStyle(document.querySelector('.plot .main-svg')).background"
        assert "rgb(255, 255, 255)" in tab.evaluate(paper)
        tab.click("#theme")
        tab.wait_for_selector(".figure[data-drawn=dark]")
        assert "rgb(28, 28, 28)" in tab.evaluate(paper)
        assert not wrong


@pytest.mark.slow
@needs_chromium
def test_equations_that_are_not_set_would_be_noticed(stored, monkeypatch):
    from playwright.sync_api import sync_playwright

    made = make_site()
    monkeypatch.setattr(made, "MATHJAX", ("no-such-package", "file.js"))
    monkeypatch.setattr(made, "take_pictures", lambda *_: None)
    (stored / "site").mkdir()
    made.build(stored, stored / "site")
    with sync_playwright() as playwright:
        tab, _ = watched(open_browser(playwright), viewport=DESKTOP)
        settled(tab, stored / "site/lesson/synthetic/98_trial.html")
        assert re.search(RAW_TEX, tab.evaluate(TEXT))
