"""Our look holds inside the styles of a host: no computed style below `.mlp` changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from ml_platform.models.clock import database_now

pytestmark = pytest.mark.any_database
TEMPLATES = Path(__file__).resolve().parents[3] / "templates"

SHEETS = {
    "of elements, as a reset or a framework has them": """
        *, ::before, ::after { border: 3px dashed red; box-sizing: content-box; margin: 7px; }
        ::after { content: "host"; }
        html { font-size: 10px; } body { font: italic 30px serif; color: red; text-align: right;
            letter-spacing: 3px; text-transform: uppercase; line-height: 3; word-spacing: 9px; }
        h1, h2, h3, p, ul, ol, dl, dd, pre, figure { margin: 40px; font-size: 40px;
            font-weight: 100; }
        a { color: green; text-decoration: underline overline; } a:hover { color: lime; }
        ul, ol { list-style: square; } table { width: auto; border-collapse: separate; }
        th, td { padding: 30px; background: yellow; text-align: center; vertical-align: bottom; }
        button, input, select, textarea { all: unset; background: pink; width: 500px; }
        header, main, nav, section, article, div { padding: 11px; background: cyan; float: left; }
        html, body { margin: 0; border: 0; padding: 0; float: none; box-sizing: border-box; }
        code, pre { color: magenta; font-size: 30px; } label { display: none;
            } [hidden] { display: block; }
    """,
    "of attributes, classes and ids": """
        #page#content a, #mlp-main a { color: green; font-size: 30px; }
        #mlp-main h1, #mlp-main section, #mlp-main td, #mlp-main div { padding: 30px; margin: 9px; }
        body.theme.theme.theme a:not([class]) { color: green;
            } [type="submit"]:not(:disabled) { border: 0; }
        [role="button"], [type="button"], [type="submit"] { background: none; border: 0;
            padding: 0; }
        .mlp-act, .mlp-card, .mlp-button, .mlp-badge { border: 9px solid red; background: red; }
    """,
}
READ = """() => [...document.querySelectorAll(".mlp, .mlp *")].map((element) => {
    const read = {};
    for (const part of ["", "::before", "::after"]) {
        const style = getComputedStyle(element, part);
        for (const name of style)  // custom properties of a host mean nothing to our rules
            if (!name.startsWith("--") || name.startsWith("--mlp"))
                read[part + name] = style.getPropertyValue(name);
    }
    return [element.tagName + "." + element.className, read];
})"""
KEEP = f"() => {{ window.before = ({READ})(); return before.length; }}"
CHANGES = f"""() => ({READ})().flatMap(([name, read], place) => Object.keys(read)
    .filter((key) => before[place][1][key] !== read[key])
    .map((key) => [name, key, before[place][1][key], read[key]])).slice(0, 20)"""
FILES = {
    "Bootstrap 5": (
        "django-include-bootstrap",
        "django_include_bootstrap/static/css/bootstrap.min.css",
    ),
    "Tailwind 4": ("django-unfold", "unfold/static/unfold/css/styles.css"),
}
"""Style sheets of frameworks, unmodified, by the distributions that bring them."""


def sheets(directory: Path) -> Iterator[tuple[str, str]]:
    """The style sheets of hosts: ours by what they do, and those of frameworks."""
    yield from SHEETS.items()
    for framework, (name, path) in FILES.items():
        yield framework, Path(str(distribution(name).locate_file(path))).read_text()
    yield "Tailwind 3", tailwind_3(directory)


def tailwind_3(directory: Path) -> str:
    """What its own program makes for our templates: a utility for each class name it knows."""
    program = distribution("tailwind").locate_file("tailwind/bin/tailwindcss-linux-x64")
    (directory / "in.css").write_text("@tailwind base; @tailwind components; @tailwind utilities;")
    command = [str(program), "--content", f"{TEMPLATES}/**/*.html", "-i", "in.css", "-o", "out.css"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return (directory / "out.css").read_text()


def dress(page: Any, rules: str) -> None:
    """Add the rules behind all others, where a policy against inline styles allows it."""
    page.evaluate(
        "(rules) => { const sheet = new CSSStyleSheet(); sheet.replaceSync(rules);"
        "document.adoptedStyleSheets = [sheet]; document.body.classList.add('theme') }",
        rules,
    )


def test_no_rule_of_a_host_reaches_our_elements(site, tmp_path: Path) -> None:
    """Each page is loaded and read once for all hosts: to read it takes seconds."""
    site.page.clock.set_fixed_time(database_now())  # a time such as "1 min ago" stays as it is
    hosts = dict(sheets(tmp_path))
    for path in ("/", "/registry-health/"):
        page = site.open(path)
        assert page.evaluate(KEEP) > 50
        for host, rules in hosts.items():
            dress(page, rules)
            assert not (changes := page.evaluate(CHANGES)), (path, host, changes)
