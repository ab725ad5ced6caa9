"""API reference as a website: `python -m tests.api_reference FOLDER` writes it.

It needs `pip install -e ".[docs]"`. Every public name is on one page: that of the
module whose `__all__` lists it.
"""

import argparse
import importlib
import inspect
import math
import os
import pathlib
import pkgutil
import re
import types

import tfp_flows

# Defaults in signatures, as their source has them.
READABLE = {repr(math.log(1e3)): "log(1000)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="where the pages are written")
    folder = parser.parse_args().folder
    build(folder)
    print(f"Open {(folder / 'tfp_flows.html').resolve()} in a browser.")


def build(folder: pathlib.Path) -> None:
    """Write one HTML page per public module.

    Args:
      folder: where the pages are written; made if it does not exist.
    """
    # TFP calls `uname` when it is imported, which pdoc would suppress with a warning.
    os.environ["PDOC_ALLOW_EXEC"] = "1"
    import pdoc

    # Annotations as they are written: `TensorLike`, and not the union of all its types.
    pdoc.doc.safe_eval_type = pdoc.doc_types.safe_eval_type = _as_written

    for name in public_modules():
        _drop_inherited_descriptions(importlib.import_module(name))
    pdoc.render.configure(
        docformat="google", footer_text=f"tfp_flows {tfp_flows.__version__}"
    )
    pdoc.pdoc("tfp_flows", *_excluded(), output_directory=folder)
    for path in folder.rglob("*.html"):
        text = path.read_text()
        for number, expression in READABLE.items():
            text = text.replace(number, expression)
        path.write_text(text)


class _AsWritten:
    """An annotation whose text is that of the source."""

    def __init__(self, annotation):
        forward = getattr(annotation, "__forward_arg__", annotation)
        self._text = forward if isinstance(forward, str) else repr(forward)
        if isinstance(forward, type):
            self._text = forward.__name__

    def __repr__(self):
        return self._text


def _as_written(annotation, *_):
    missing = annotation is inspect.Signature.empty
    return annotation if missing else _AsWritten(annotation)


def public_modules() -> list[str]:
    """Return the names of the modules that `__all__` lists, from `tfp_flows` down."""

    def listed(module):
        yield module.__name__
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if isinstance(value, types.ModuleType):
                yield from listed(value)

    return list(listed(tfp_flows))


def _drop_inherited_descriptions(module):
    """Drops descriptions of constructors that classes inherit from TFP."""
    for name in getattr(module, "__all__", []):
        attributes = getattr(getattr(module, name), "__dict__", {})
        constructor = attributes.get("__init__")
        if constructor is not None and constructor.__doc__ is None:
            constructor.__doc__ = "<!-- described above -->"  # invisible


def _excluded():
    """Yields patterns of modules that no `__all__` lists as modules."""
    public = set(public_modules())
    for name in [*public]:
        module = importlib.import_module(name)
        for child in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if f"{name}.{child.name}" not in public and child.name[0] != "_":
                yield f"!{re.escape(f'{name}.{child.name}')}$"


if __name__ == "__main__":
    main()
