"""The API reference builds without warnings, and describes every public name once."""

import collections
import html
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from tests import api_reference

TOP = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Returns the text of each page by the name of its module."""
    pytest.importorskip("pdoc", reason='needs pdoc: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("api_reference")
    command = ["-W", "error:::pdoc", "-m", "tests.api_reference", str(folder)]
    built = subprocess.run(
        [sys.executable, *command], cwd=TOP, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert not re.search(r"^Warn|Warning:", built.stderr, re.MULTILINE), built.stderr
    found = sorted((folder / "tfp_flows").rglob("*.html"))
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path.read_text()
        for path in [folder / "tfp_flows.html", *found]
    }


def test_each_public_module_has_one_page(pages):
    assert set(pages) == set(api_reference.public_modules())


def test_each_public_name_is_described_once(pages):
    where = collections.defaultdict(list)
    for module in pages:
        for name in getattr(importlib.import_module(module), "__all__", []):
            value = getattr(importlib.import_module(module), name)
            if callable(value):
                assert f'<section id="{name}">' in pages[module], f"{module}.{name}"
                where[id(value)].append(f"{module}.{name}")
    assert not [names for names in where.values() if len(names) > 1]


def test_arguments_are_lists(pages):
    for module, page in pages.items():
        text = re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
        text = html.unescape(re.sub(r"<[^>]*>", "", text))
        for heading in ["Args", "Returns", "Raises", "Attributes", "Example"]:
            plain = re.search(rf"^ *{heading}: *[^ \n].*$", text, re.MULTILINE)
            assert not plain, f"{module}: not formatted: {plain[0]}"


def test_defaults_are_readable(pages):
    for module, page in pages.items():
        pattern = r'<span class="signature.*?</span></span>'
        for signature in re.findall(pattern, page, re.DOTALL):
            text = html.unescape(re.sub(r"<[^>]*>", "", signature))
            assert not re.search(r"\d\.\d{7}", text), f"{module}: {text}"
            assert " object at 0x" not in text, f"{module}: {text}"
            assert "<function" not in text, f"{module}: {text}"


def test_no_description_is_inherited_from_tfp(pages):
    for module, page in pages.items():
        assert "Constructs Bijector" not in page, module
