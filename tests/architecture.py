"""The house as a table: rooms, what each may import, its size and its public names.

`python -m tests.architecture` prints it: what to look at first. `ROOMS` is the one place
that states the directions of imports, which `tests/test_architecture.py` enforces.
"""

import ast
import collections
import dataclasses
import importlib
import pathlib
import textwrap
import types

import tfp_flows

ROOT = pathlib.Path(tfp_flows.__file__).parent
TOP = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Room:
    """A subpackage or a module of the package, or its private top-level modules.

    Args:
      name: name below `tfp_flows`; "core" is all private modules at the top.
      holds: what goes there.
      may_import: names of the rooms that it may import, besides itself.
      external: packages that it may import, besides `EXTERNAL`.
      new: what to touch for something new, and where.
    """

    name: str
    holds: str
    may_import: tuple = ()
    external: tuple = ()
    new: str = ""

    @property
    def files(self):
        """Paths of its modules."""
        if self.name == "core":
            return sorted(p for p in ROOT.glob("_*.py") if p.name != "__init__.py")
        if (ROOT / self.name).is_dir():
            return sorted((ROOT / self.name).rglob("*.py"))
        return [ROOT / f"{self.name}.py"]

    @property
    def public_names(self):
        """Dictionary from dotted names to what they stand for, of `__all__`.

        Of a module that is listed there, its own names come after a dot.
        """
        if self.name == "core":
            return {}
        return dict(_names_in(importlib.import_module(f"tfp_flows.{self.name}")))


def _names_in(module, prefix=""):
    for name in module.__all__:
        value = getattr(module, name)
        yield prefix + name, value
        if isinstance(value, types.ModuleType):
            yield from _names_in(value, f"{prefix}{name}.")


_TOOLS = ("core", "bijectors", "masks", "networks")
# From bottom to top: imports go up in this table only.
ROOMS = {
    room.name: room
    for room in [
        Room(
            "core",
            "what all rooms share: the base class of layers and its cache, "
            "checks of arguments, dtypes, registered builders",
        ),
        Room(
            "checks", "checks of parameters and inputs, for layers of users", ("core",)
        ),
        Room("testing", "laws of layers as functions, for layers of users", ("core",)),
        Room("masks", "masks of couplings and convolutions", ("core",)),
        Room("root_finding", "roots of increasing functions", ("core",)),
        Room(
            "networks",
            "conditioner networks, one kind in a file",
            ("core", "masks"),
            new="a network: its file, `__init__.py`, `tests/catalogue/networks.py`",
        ),
        Room(
            "bijectors",
            "layers, one kind in a file, and transformers",
            ("core", "masks", "root_finding", "networks"),
            new="a layer: its file, `__init__.py`, `tests/catalogue/layers.py`",
        ),
        Room(
            "distributions",
            "autoregressive distributions over integers, base distributions of flows",
            ("core", "bijectors", "networks"),
        ),
        Room(
            "flows",
            "builders of whole flows, one in a file, and `condition`",
            (*_TOOLS, "distributions"),
            new="a builder: its file, `__init__.py`, `tests/catalogue/flows.py`",
        ),
        Room(
            "normalization",
            "data-dependent initialization, batch statistics",
            ("core", "bijectors"),
        ),
        Room(
            "dequantization",
            "noise for integers, bits per dimension",
            (*_TOOLS, "distributions", "flows"),
        ),
        Room(
            "latent_space",
            "encode, decode, interpolate, manipulate",
            ("core", "bijectors"),
        ),
        Room("variational", "bounds on the evidence", ("core",)),
        Room(
            "keras",
            "models, layers, losses and callbacks of Keras 3",
            ("core", "networks", "bijectors", "flows", "normalization"),
            ("keras",),
            new="a callback, loss or layer: its file, `__init__.py`, "
            "`tests/keras/test_NAME.py`",
        ),
    ]
}
EXTERNAL = ("numpy", "tensorflow", "tensorflow_probability")
# The modules that may import what is private to TensorFlow and TFP.
PRIVATE_OF_TENSORFLOW = ("_autodiff", "_freshness")
# Top-level names that two modules define. The list only becomes shorter.
DEFINED_TWICE = {
    "activate",
    "initialize_from_data",
    "register",
    "update_moving_statistics",
    "with_batch_statistics",
}


def room_of(name):
    """Returns the name of the room of a dotted name, or None for that of the package."""
    first = name.split(".")[1] if "." in name else None
    if first in ROOMS or not first:
        return first
    return "core" if first.startswith("_") else first


def module_of(path):
    """Returns the dotted name of the module in a file."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Yields the absolute dotted names that a file imports, relative ones with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


def imported_modules(path, modules):
    """Returns the modules of the package that a file imports.

    Args:
      path: the file.
      modules: names of all modules of the package.
    """
    found = set()
    for name in imports_of(path):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        if name and name != "tfp_flows":
            found.add(name)
    return found


def import_graph():
    """Returns a dictionary from each module of the package to those it imports."""
    paths = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
    return {
        name: imported_modules(path, set(paths)) - {name}
        for name, path in paths.items()
    }


def cycle_in(graph):
    """Returns a list of modules each of which imports the next, or None."""
    done, on_the_way = set(), []

    def visit(name):
        if name in on_the_way:
            return on_the_way[on_the_way.index(name) :] + [name]
        if name in done:
            return None
        on_the_way.append(name)
        for other in sorted(graph[name]):
            if found := visit(other):
                return found
        done.add(on_the_way.pop())
        return None

    return next(filter(None, map(visit, sorted(graph))), None)


def definitions():
    """Returns a dictionary from each top-level name to the modules that define it.

    Functions and classes alone, and not their methods.
    """
    found = collections.defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if module_of(path) not in found[node.name]:  # overloads are several
                    found[node.name].append(module_of(path))
    return found


def lines_of(path):
    """Returns the number of lines of a file."""
    return len(path.read_text().splitlines())


def table():
    """Returns the table as text."""
    rows = []
    for room in ROOMS.values():
        files = room.files
        rows.append(
            f"{room.name:15} {len(files):5} {sum(map(lines_of, files)):6}  {room.holds}"
        )
        about = [
            ("imports", ", ".join(room.may_import)),
            ("names", ", ".join(room.public_names)),
            ("new", room.new),
        ]
        for title, text in about:
            if text:
                rows += textwrap.wrap(
                    f"{title}: {text}",
                    92,
                    initial_indent=" " * 30,
                    subsequent_indent=" " * 32,
                )
    files = list(ROOT.rglob("*.py"))
    head = f"{'room':15} {'files':>5} {'lines':>6}"
    total = f"{'all':15} {len(files):5} {sum(map(lines_of, files)):6}"
    return "\n".join([head, *rows, total])


def main():
    """Prints the table."""
    print(table())


if __name__ == "__main__":
    main()
