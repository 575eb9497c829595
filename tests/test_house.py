"""The rules of the house, held against every source file: who may know whom, and what stands where."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "inlay"
ADAPTERS = ROOT / "adapters"

# From the roof to the ground: an import goes down this list, or stays on its line, and never up.
HOUSE = (
    ("adapters",),
    ("collection",),
    ("indexes",),
    ("codecs",),
    ("graph",),
    ("clusters", "rotation", "ids", "file", "contents", "tables", "arrays", "scorer", "results", "progress"),
    ("parallel", "kernels"),
)
FLOOR = {name: number for number, names in enumerate(HOUSE) for name in names}
FRAMEWORKS = {
    *("langchain_core", "langchain", "llama_index", "ray"),
    *("faiss", "hnswlib", "sklearn", "scipy", "matplotlib"),
}
CEILING = 450


def sources(*endings: str) -> list[Path]:
    patterns = [f"*{ending}" for ending in endings]
    return sorted(
        path for folder in (CORE, ADAPTERS) for pattern in patterns for path in folder.rglob(pattern)
    )


def module(path: Path) -> list[str]:
    """The parts of a file's module name below `inlay`."""
    if path.is_relative_to(ADAPTERS):
        parts = ["adapters", *path.relative_to(ADAPTERS).with_suffix("").parts]
    else:
        parts = list(path.relative_to(CORE).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def resolved(path: Path, dots: str, name: str) -> str:
    """The whole name of what a file imports from, `inlay....` for its own package."""
    if not dots:
        return name
    package = ["inlay", *module(path)]
    if path.name != "__init__.py" and path.name != "__init__.pxd":
        package.pop()
    package = package[: len(package) - len(dots) + 1]
    return ".".join([*package, *filter(None, [name])])


def python_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolved(path, "." * node.level, node.module or "")
            # `from .. import file` names modules where `from ..file import read` names a thing in one.
            yield from (f"{source}.{alias.name}" for alias in node.names) if source == "inlay" else (source,)


CYTHON_FROM = re.compile(r"^\s*from\s+(\.*)([\w.]*)\s+c?import\s+\(?\s*([\w, ]*)", re.M)
CYTHON_PLAIN = re.compile(r"^\s*c?import\s+([\w.]+)", re.M)


def cython_imports(path: Path) -> Iterator[str]:
    text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
    for dots, name, things in CYTHON_FROM.findall(text):
        source = resolved(path, dots, name)
        modules = [f"inlay.{thing.strip()}" for thing in things.split(",")]
        yield from modules if source == "inlay" else (source,)
    yield from CYTHON_PLAIN.findall(text)


def imports(path: Path) -> list[str]:
    return list((python_imports if path.suffix in (".py", ".pyi") else cython_imports)(path))


def room(name: str) -> str | None:
    """The entry of the house list that a module of ours belongs to; None for the front door."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "inlay" else None


MODULES = sources(".py", ".pyx", ".pxd", ".pyi")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_an_import_goes_down_the_house_and_never_up(path):
    own = module(path)
    if not own:
        return  # the front door opens to every room
    assert own[0] in FLOOR, f"{named(path)} has no place in the house list"
    for name in imports(path):
        if name.split(".")[0] != "inlay":
            continue
        other = room(name)
        if other is None:
            assert own[0] == "adapters", f"{named(path)} goes through the front door; only adapters may"
        elif other in FLOOR:
            assert FLOOR[other] >= FLOOR[own[0]], f"{named(path)} imports {name}, which lies above it"
        else:
            assert own[0] == "adapters", f"{named(path)} imports {name}, which is in no room"


def test_the_tests_of_imports_see_imports():
    lvq = set(imports(CORE / "codecs" / "lvq.pyx"))
    assert lvq >= {
        "inlay.kernels.table",
        "inlay.parallel.crew",
        "inlay.rotation",
        "inlay.codecs.codec",
        "numpy",
    }
    base = set(imports(CORE / "indexes" / "base.py"))
    assert base >= {"inlay.ids", "inlay.arrays", "inlay.parallel.signals", "inlay.progress", "numpy"}
    assert "inlay.indexes.base" in imports(CORE / "indexes" / "__init__.py")
    assert resolved(CORE / "indexes" / "x.py", "..", "file") == "inlay.file"
    assert resolved(CORE / "indexes" / "__init__.py", ".", "base") == "inlay.indexes.base"


def test_no_two_modules_import_each_other():
    graph = {".".join(["inlay", *module(path)]): set() for path in MODULES}
    for path in MODULES:
        name = ".".join(["inlay", *module(path)])
        # A package's own door, through which its modules are reached from outside, is no room of its own.
        if path.name != "__init__.py" and path.suffix != ".pyi":
            graph[name] |= {other for other in imports(path) if other in graph and other != name}
    done, open_now = set(), []

    def visit(name):
        if name in open_now:
            pytest.fail(" -> ".join([*open_now[open_now.index(name) :], name]))
        if name not in done:
            open_now.append(name)
            for other in sorted(graph[name]):
                visit(other)
            open_now.pop()
            done.add(name)

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_frameworks_are_for_adapters(path):
    foreign = {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
    assert not foreign or module(path)[0] == "adapters"


def test_headers_know_headers_only():
    for path in sources(".hpp"):
        included = re.findall(r'#include "([^"]+)"', path.read_text())
        for name in included:
            assert (CORE / name).exists() or (path.parent / name).exists(), f"{named(path)} includes {name}"
            assert name.split("/")[0] not in ("indexes", "codecs", "collection")


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*[\s\S]*?\*/", "", text)


@pytest.mark.parametrize("path", sources(".hpp"), ids=named)
def test_a_header_names_no_index(path):
    text = without_comments(path.read_text())
    assert re.search(r"\w*Index\b|\bindex(es)?\b", text) is None


INSTRUCTION = re.compile(
    r"\b(_mm\d*_\w+|__m\d+\w*|__builtin_ia32_\w+|vp(?:add|mul|madd|sub|cmp|shuf|dp|and|or|srl|sll)\w*|"
    r"vld\d\w+|v(?:add|mul|fma|dot)q?_\w+|\w*mmintrin|arm_neon|__attribute__|target\()"
)


@pytest.mark.parametrize("path", sources(".pyx", ".pxd", ".py"), ids=named)
def test_nothing_but_a_header_names_an_instruction(path):
    assert INSTRUCTION.search(path.read_text()) is None


@pytest.mark.parametrize("path", sources(".pyx", ".pxd", ".py"), ids=named)
def test_nothing_above_the_kernels_knows_a_cpu_level(path):
    if module(path)[:1] == ["kernels"]:
        return
    assert re.search(r"avx|neon|\bsse|vnni", path.read_text(), re.I) is None


def test_the_rule_about_instructions_sees_instructions():
    for text in ("_mm512_add_ps(a, b)", "__m256i x", "vpdpbusd", "#include <immintrin.h>", "vaddq_f32(a, b)"):
        assert INSTRUCTION.search(text)
    for text in ("split(n)", "padded", "prepare", "update", "vectors", "vp", "pandas"):
        assert not INSTRUCTION.search(text)


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".hpp"), ids=named)
def test_a_file_opens_with_its_idea(path):
    text = path.read_text()
    assert re.match(r'"""\S|//\s?\S', text), "no opening words"


def test_no_file_is_called_for_what_it_is_not():
    for path in sources(".py", ".pyx", ".hpp"):
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "core", "lib"}


def test_what_belongs_together_is_there_together():
    for path in sources(".pyx"):
        assert path.with_suffix(".pyi").exists(), f"{named(path)} has no stub"
    assert (CORE / "py.typed").exists()


def test_files_beyond_the_ceiling_are_reported(record_property):
    """A report and no rule: a file may wait for the day on which it is split."""
    files = sources(".py", ".pyx", ".pxd", ".hpp")
    lengths = {named(path): len(path.read_text().splitlines()) for path in files}
    beyond = {name: lines for name, lines in lengths.items() if lines > CEILING}
    for name, lines in sorted(beyond.items()):
        record_property(name, lines)
        print(f"{name}: {lines} lines")
    assert lengths
    assert len(beyond) < len(lengths) / 4
