"""Write site/: the executed notebooks, results and claims that exist, as pages without a network.

`make site` runs it. A notebook's title, question and picture are its own; README and
docs/results.md give the words around them, and results in JSON and CSV are tables.
"""

import json
import posixpath
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import jinja2
import nbformat
import pandas as pd
import plotly.offline
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FIGURE = ".figure"
RESULTS = "docs/results.md"
MATHJAX = ("django-static-mathjax", "mathjax/static/mathjax/es5/tex-svg-full.js")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRAWS_3D = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # without a GPU
POSE = """async (plot) => {
    const frames = plot._transitionData?._frames ?? [];
    const at = {mode: "immediate", frame: {duration: 0}, transition: {duration: 0}};
    if (frames.length) await Plotly.animate(plot, [frames.at(-1).name], at);
    plot.style.cssText += "; position: fixed; top: 0; left: 0";
}"""  # the last frame of a film; at a whole pixel, so that a picture comes out the same again


@dataclass
class Page:
    """One page, before its links are known."""

    address: str  # within the site
    title: str
    body: str
    kind: str = "prose"
    source: str = ""  # the file of the repository that it shows
    question: str = ""
    picture: str = ""
    figure: tuple | None = None  # CSS selector and number on the page of what the picture shows
    before: object = None  # the page before it and the one after, of the same data
    after: object = None

    @property
    def folder(self):
        """The scale and the source that it is of, as one word."""
        return posixpath.dirname(self.address).replace("/", "-") or "all"

    @property
    def root(self):
        """The way from the page to the top of the site."""
        return "../" * self.address.count("/")

    @property
    def math(self):
        """Whether there is an equation to set."""
        return self.kind != "wide" and ("$" in self.body or "\\begin{" in self.body)


def by_source(root, folder, *endings):
    """{(scale, source): files} of reports/ or results/; lesson comes first.

    The rows of every cluster (.csv.gz) are no page for a reader: notebooks 06 and 08 show them.
    """
    groups = {}
    for path in sorted(root.glob(f"{folder}/*/*/*")):
        if path.suffix in endings:
            groups.setdefault(path.parts[-3:-1], []).append(path)
    return dict(sorted(groups.items(), key=lambda g: (g[0][0] != "lesson", g[0][1] != "synthetic")))


# --- notebooks


def figure_of(body):
    """(CSS selector, number on the page) of a notebook's largest figure, which stands for it."""
    page = BeautifulSoup(body, "html.parser")
    for selector in (FIGURE, ".output_png img"):
        sizes = [len(str(figure)) for figure in page.select(selector)]
        if sizes:
            return selector, sizes.index(max(sizes))
    return None


def notebook_page(exporter, path, folder):
    """The page of an executed notebook: its title is its first heading."""
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
    if not title:
        raise ValueError(f"{path} must have a heading that starts with `# `; got none")
    question = re.search(r"\*\*Question\.\*\*\s+([^?]*\?)", text)
    body, _ = exporter.from_notebook_node(notebook)
    return Page(
        f"{folder}/{path.stem}.html",
        title[1].strip(),
        body,
        kind="notebook",
        source=f"notebooks/{path.name}",
        question=" ".join(question[1].split()) if question else "",
        figure=figure_of(body),
    )


# --- results


def flat(value, name=""):
    """[(name, number or text)] of nested dicts; what is neither is left out."""
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in flat(part, f"{name} {key}".strip())]
    return [] if isinstance(value, list) else [(name, value)]


def rows_of(path):
    """The rows of a file of results as dicts, flat; none where it holds records of another kind."""
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return [{"what": name, "value": value} for name, value in flat(content)]
    return [dict(flat(row)) for row in content if isinstance(row, dict)]


def table_page(jinja, path, address, root):
    """The page of a file of results; None where it holds no rows."""
    rows = rows_of(path)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: {row.get(name) for row in rows} for name in names}
    columns = {name: values for name, values in columns.items() if values - {"", None}}
    if not columns:
        return None
    same = {name: [*values][0] for name, values in columns.items() if len(values) == 1 < len(rows)}
    source = path.relative_to(root).as_posix()
    body = jinja.get_template("table.html.j2").render(
        title=path.name,
        path=source,
        same=same,
        columns=[name for name in columns if name not in same],
        rows=rows,
    )
    return Page(address, path.name, body, kind="wide", source=source)


def section(path, text=""):
    """The first part of a page in Markdown, from heading to heading, with a text, as HTML."""
    parts = path.read_text(encoding="utf-8").removeprefix("# ").split("\n## ")
    part = next(part for part in parts if text in part)
    return markdown2html(re.sub(r"<!--.*?-->", "", f"# {part}", flags=re.DOTALL))


# --- the site


def relink(page, pages, root, site):
    """Lead links to pages of the site, copy pictures into it, and let wide tables be scrolled."""
    soup = BeautifulSoup(page.body, "html.parser")
    here, base = posixpath.dirname(page.address), posixpath.dirname(page.source)
    known = {}  # of pages of one notebook that of the same data comes first
    for other in pages:
        if other.source not in known or posixpath.dirname(other.address) == here:
            known[other.source] = other.address
        known.setdefault(posixpath.dirname(other.source), f"results.html#{other.folder}")
    for link in soup.find_all("a", href=re.compile(r"^(?![a-z]+:|#)")):
        target = posixpath.normpath(posixpath.join(base, link["href"].split("#")[0]))
        if target in known:
            link["href"] = posixpath.relpath(known[target], here or ".")
        else:
            link.unwrap()
    for image in soup.find_all("img", src=re.compile(r"^(?![a-z]+:|assets/)")):
        picture = root / base / image["src"]
        shutil.copyfile(picture, site / "assets" / picture.name)
        image["src"] = posixpath.relpath(f"assets/{picture.name}", here or ".")
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    page.body = str(soup)


def write_assets(site):
    """Copy what all pages share; say so, and return False, where MathJax is not there."""
    assets = site / "assets"
    (assets / "pictures").mkdir(parents=True)
    for name in ("site.js", "theme.js"):
        shutil.copyfile(DOCS / "site" / name, assets / name)
    code = {"light": "xcode", "dark": "github-dark"}
    styles = [
        HtmlFormatter(style=style).get_style_defs(f"[data-theme={theme}] .highlight")
        for theme, style in code.items()
    ]
    css = (DOCS / "site" / "site.css").read_text(encoding="utf-8")
    (assets / "site.css").write_text("\n".join([*styles, css]), encoding="utf-8")
    (assets / "plotly.min.js").write_text(plotly.offline.get_plotlyjs(), encoding="utf-8")
    package, path = MATHJAX
    try:
        shutil.copyfile(metadata.distribution(package).locate_file(path), assets / "mathjax.js")
    except metadata.PackageNotFoundError:
        print(f"Equations stay TeX: the package {package} is not installed.")
        return False
    return True


def chromium():
    """The path of a Chromium or Chrome that is installed, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def take_pictures(site, pages):
    """Take each notebook's picture, light and dark; without Chromium say so, and none is shown."""
    if not chromium():
        print("The index has no pictures: Chromium is not installed.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=DRAWS_3D)
        tab = browser.new_page(viewport={"width": 1000, "height": 900}, offline=True)
        tab.set_default_timeout(120_000)  # ms, on a busy machine
        tab.route("**/mathjax.js", lambda route: route.abort())  # which figures do not need
        for page in filter(lambda page: page.figure, pages):
            selector, number = page.figure
            tab.goto((site / page.address).as_uri())
            figure = tab.locator(selector).nth(number)
            page.picture = f"assets/pictures/{page.folder}-{posixpath.basename(page.address)}"
            for theme in ("light", "dark"):
                tab.emulate_media(color_scheme=theme)
                figure.scroll_into_view_if_needed()
                shot = figure
                if selector == FIGURE:
                    figure.and_(tab.locator(f"[data-drawn={theme}]")).wait_for()
                    shot = figure.locator(".plot")
                    shot.evaluate(POSE)
                path = site / f"{page.picture}-{theme}.jpg"
                shot.screenshot(path=path, type="jpeg", quality=80)
        browser.close()


def build(root, site):
    """Write the whole site of a checkout into a new folder."""
    loader = jinja2.FileSystemLoader(DOCS / "site")
    jinja = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    math = write_assets(site)
    exporter = HTMLExporter(
        template_name="site",
        extra_template_basedirs=[str(DOCS)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    groups = [
        {
            "scale": scale,
            "source": source,
            "pages": [notebook_page(exporter, path, f"{scale}/{source}") for path in paths],
        }
        for (scale, source), paths in by_source(root, "reports", ".ipynb").items()
    ]
    notebooks = [page for group in groups for page in group["pages"]]
    if not notebooks:
        raise ValueError(
            f"{root}/reports must hold executed notebooks, as `make repro` writes; got none"
        )
    for group in groups:
        for page, after in pairwise(group["pages"]):
            page.after, after.before = after, page

    def tables_of(paths, folder=""):
        pages = [table_page(jinja, path, f"{folder}{path.name}.html", root) for path in paths]
        return [page for page in pages if page]

    tables = {
        f"Scale {scale}, {source} data": tables_of(paths, f"{scale}/{source}/")
        for (scale, source), paths in by_source(root, "results", ".json", ".csv").items()
    }
    ledgers = tables_of(sorted(root.glob("results/*.csv")))
    words = root / RESULTS
    tops = [
        Page("results.html", "Results", section(words, "<!-- results:begin"), source=RESULTS),
        Page("claims.html", "Claims", section(words, "<!-- claims:begin"), source=RESULTS),
    ]
    pages = [*notebooks, *tops, *ledgers, *(page for each in tables.values() for page in each)]
    for page in notebooks + tops:
        relink(page, pages, root, site)
    for page, lists in zip(tops, (tables, {"Row by row": ledgers}), strict=True):
        page.body += jinja.get_template("lists.html.j2").render(lists=lists)

    def write(page):
        path = site / page.address
        path.parent.mkdir(parents=True, exist_ok=True)
        text = jinja.get_template("page.html.j2").render(page=page, top=tops, math=math)
        path.write_text(text, encoding="utf-8")

    for page in pages:
        write(page)
    take_pictures(site, notebooks)
    index = Page(
        "index.html", "Di2Pose in notebooks", section(root / "README.md"), "index", "README.md"
    )
    relink(index, pages, root, site)
    index.body += jinja.get_template("cards.html.j2").render(groups=groups)
    write(index)


def main():
    """Write site/; the one that was there stays until the new one is whole."""
    new, site = ROOT / "site.new", ROOT / "site"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        build(ROOT, new)
    except ValueError as error:
        sys.exit(f"error: {error}")
    shutil.rmtree(site, ignore_errors=True)
    new.rename(site)
    print(f"Open {site / 'index.html'}")


if __name__ == "__main__":
    main()
