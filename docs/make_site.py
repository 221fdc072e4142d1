"""Write site/: the executed notebooks, results and claims that exist, as pages without a network.

`make site` runs it. A notebook's title, question and picture are its own; README and
docs/results.md give the words around them, and every file of results is a table.
"""

import csv
import json
import posixpath
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import jinja2
import nbformat
import plotly.offline
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PLOTLY = "application/vnd.plotly.v1+json"
FIGURE = ".figure"
PICTURE = "picture"  # tag of the cell whose figure stands for its notebook; else the largest does
NOTES = {"smoke": "The whole pipeline, tiny: its numbers mean nothing."}
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
    def math(self):
        """Whether there is an equation to set."""
        return self.kind != "wide" and ("$" in self.body or "\\begin{" in self.body)


def shown(value):
    """A value of a table in few characters."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def templates():
    """The folder docs/site as jinja2 sees it."""
    loader = jinja2.FileSystemLoader(DOCS / "site")
    found = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    found.filters["shown"] = shown
    return found


def found_by_source(root, folder, *endings):
    """{(scale, source): files} of reports/ or results/; lesson comes first."""
    found = {}
    for ending in endings:
        for path in root.glob(f"{folder}/*/*/*{ending}"):
            scale, source = path.parts[-3:-1]
            found.setdefault((scale, source), {}).setdefault(path.name, path)
    first = sorted(found, key=lambda of: (of[0] != "lesson", of[1] != "synthetic", of))
    return {of: [found[of][name] for name in sorted(found[of])] for of in first}


# --- notebooks


def heading(notebook, path):
    """Title and question of a notebook: its first heading, and its first paragraph up to a "?"."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
    if not title:
        raise ValueError(f"{path} must have a heading that starts with `# `; got none")
    paragraph = text[title.end() :].strip().split("\n\n")[0].replace("\n", " ")
    question = re.match(r"[^?]*\?", paragraph.replace("**Question.**", "").strip())
    return title[1].strip(), question[0] if question else ""


def figure_of(notebook):
    """Where on its page the figure is that stands for a notebook, as selector and number."""
    figures, tables, pictures = [], [], []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            tagged = PICTURE in cell.metadata.get("tags", [])
            if PLOTLY in data:
                figures.append((tagged, len(json.dumps(data[PLOTLY]))))
            elif "image/png" in data:
                pictures.append((tagged, len(data["image/png"])))
            elif "|" in data.get("text/markdown", ""):
                tables.append((tagged, len(data["text/markdown"])))
    for selector, sizes in (
        (FIGURE, figures),
        (".output_png img", pictures),
        (".output_markdown", tables),
    ):
        if sizes:
            return selector, sizes.index(max(sizes))
    return None


def notebook_page(exporter, path, folder):
    """The page of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    title, question = heading(notebook, path)
    body, _ = exporter.from_notebook_node(notebook)
    return Page(
        f"{folder}/{path.stem}.html",
        title,
        body,
        kind="notebook",
        source=f"notebooks/{path.name}",
        question=question,
        figure=figure_of(notebook),
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
        with open(path, encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
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


# --- words of README.md and docs/results.md

TABLES = "docs/results.md"


def sections(path):
    """The parts of a page in Markdown, each from a heading to the next."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# di2pose\n"
    return re.split(r"^(?=#{1,3} )", text, flags=re.MULTILINE)[1:]


def section_with(root, block):
    """The part around a block that docs/make_results.py writes, as HTML, or nothing."""
    parts = sections(root / TABLES)
    return "".join(html(part) for part in parts if f"<!-- {block}:begin" in part)


def beginning(root):
    """README before its first section; of its first paragraph the bold words alone."""
    parts = sections(root / "README.md")[0].strip().split("\n\n")
    parts[1:2] = [re.sub(r"(?s)(\*\*.+?\*\*).*", r"\1", part) for part in parts[1:2]]
    return html("\n\n".join(parts))


def html(markdown):
    """Markdown as HTML, without comments, its first heading the page's."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    return markdown2html(re.sub(r"^#+", "#", text.strip()))


# --- the site


def relink(page, pages, root, site):
    """Lead links to pages of the site, copy pictures into it, and let wide tables be scrolled."""
    soup = BeautifulSoup(page.body, "html.parser")
    here, base = posixpath.dirname(page.address), posixpath.dirname(page.source)
    known = {other.source: other.address for other in reversed(pages) if other.source}
    known |= {
        other.source: other.address for other in pages if other.address.startswith(f"{here}/")
    }
    for other in pages:
        known.setdefault(posixpath.dirname(other.source), f"results.html#{other.folder}")
    for link in soup.find_all("a", href=re.compile(r"^(?![a-z]+:|#)")):
        target = posixpath.normpath(posixpath.join(base, link["href"].split("#")[0]))
        if target in known:
            link["href"] = posixpath.relpath(known[target], here or ".")
        else:
            link.unwrap()
    for image in soup.find_all("img", src=re.compile(r"^(?![a-z]+:|assets/)")):
        found = root / base / image["src"]
        shutil.copyfile(found, site / "assets" / found.name)
        image["src"] = posixpath.relpath(f"assets/{found.name}", here or ".")
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    page.body = str(soup)


def package_file(package, path):
    """A file of an installed package; None where that is not installed."""
    try:
        return Path(metadata.distribution(package).locate_file(path))
    except metadata.PackageNotFoundError:
        return None


def write_assets(site):
    """Copy what all pages share; say so where MathJax is not there."""
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
    mathjax = package_file(*MATHJAX)
    if mathjax:
        shutil.copyfile(mathjax, assets / "mathjax.js")
    else:
        print(f"Equations stay TeX: the package {MATHJAX[0]} is not installed.")
    return bool(mathjax)


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
            found = tab.locator(selector).nth(number)
            page.picture = f"assets/pictures/{page.folder}-{posixpath.basename(page.address)}"
            for theme in ("light", "dark"):
                tab.emulate_media(color_scheme=theme)
                found.scroll_into_view_if_needed()
                picture = found
                if selector == FIGURE:
                    found.and_(tab.locator(f"[data-drawn={theme}]")).wait_for()
                    picture = found.locator(".plot")
                    picture.evaluate(POSE)
                picture.screenshot(
                    path=site / f"{page.picture}-{theme}.jpg", type="jpeg", quality=80
                )
        browser.close()


def build(root, site):
    """Write the whole site of a checkout into a new folder."""
    jinja, math = templates(), write_assets(site)
    exporter = HTMLExporter(
        template_name="site",
        extra_template_basedirs=[str(DOCS)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    groups, pages = [], []
    for (scale, source), paths in found_by_source(root, "reports", ".ipynb").items():
        of_group = [notebook_page(exporter, path, f"{scale}/{source}") for path in paths]
        for page, after in zip(of_group, of_group[1:], strict=False):
            page.after, after.before = after, page
        note = NOTES.get(scale, "")
        groups.append({"scale": scale, "source": source, "note": note, "pages": of_group})
        pages += of_group
    if not pages:
        raise ValueError(
            f"{root}/reports must hold executed notebooks, as `make repro` writes; got none"
        )

    tables = {}
    for (scale, source), paths in found_by_source(root, "results", ".json", ".csv").items():
        each = [
            table_page(jinja, path, f"{scale}/{source}/{path.name}.html", root) for path in paths
        ]
        tables[f"Scale {scale}, {source} data"] = list(filter(None, each))
    ledgers = [
        table_page(jinja, path, f"{path.name}.html", root)
        for path in sorted(root.glob("results/*.csv"))
    ]
    lists = jinja.get_template("lists.html.j2")
    results = Page("results.html", "Results", section_with(root, "results"), source=TABLES)
    claims = Page("claims.html", "Claims", section_with(root, "claims"), source=TABLES)
    top = [("results", results.address), ("claims", claims.address)]
    table_pages = [*ledgers, *(page for each in tables.values() for page in each)]
    shell = jinja.get_template("page.html.j2")

    def write(page):
        path = site / page.address
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * page.address.count("/")
        path.write_text(shell.render(page=page, root=up, top=top, math=math), encoding="utf-8")

    for page in [*pages, results, claims]:
        relink(page, [*pages, *table_pages], root, site)
    results.body += lists.render(lists=tables)
    claims.body += lists.render(lists={"Row by row": ledgers})
    for page in [*pages, results, claims]:
        write(page)
    for page in table_pages:
        write(page)
    take_pictures(site, pages)
    index = Page("index.html", "Di2Pose in notebooks", beginning(root), source="README.md")
    relink(index, pages, root, site)
    index.body += jinja.get_template("cards.html.j2").render(groups=groups)
    index.kind = "index"
    write(index)


def main():
    """Write site/, whole or not at all."""
    new, old = ROOT / "site.new", ROOT / "site.old"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir()
    try:
        build(ROOT, new)
    except ValueError as error:
        sys.exit(f"error: {error}")
    site = ROOT / "site"
    if site.exists():
        site.rename(old)
    new.rename(site)
    shutil.rmtree(old, ignore_errors=True)
    print(f"Open {site / 'index.html'}")


if __name__ == "__main__":
    main()
