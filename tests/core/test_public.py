"""The public face: exactly the names of `__all__`, each with its words, and a light import."""

import inspect
import sys
import types

import inlay

# What the package promises by name; the list may grow.
PROMISED = (
    "FlatIndex",
    "FormatError",
    "IdFilter",
    "Index",
    "LVQIndex",
    "from_spec",
    "get_num_threads",
    "load",
    "set_num_threads",
)
# Nothing of these is needed before it is used: tqdm alone takes 30 ms.
HEAVY = (
    "tqdm langchain langchain_core llama_index ray faiss hnswlib sklearn scipy matplotlib pandas torch numba "
    "pytest asyncio multiprocessing unittest http pydantic"
)


def members(kind):
    """The public attributes of a class that it or its own bases define."""
    for name in dir(kind):
        if not name.startswith("_"):
            owner = next(base for base in kind.__mro__ if name in base.__dict__)
            if owner.__module__.split(".")[0] == "inlay":
                yield name, inspect.getattr_static(kind, name)


def test_all_names_exactly_what_is_public():
    modules = {name for name, value in vars(inlay).items() if isinstance(value, types.ModuleType)}
    assert {name for name in vars(inlay) if not name.startswith("_")} - modules == set(inlay.__all__)
    assert set(PROMISED) <= set(inlay.__all__)
    assert inlay.__all__ == sorted(inlay.__all__)


def test_every_public_thing_is_described():
    assert inlay.__doc__
    for name in inlay.__all__:
        thing = getattr(inlay, name)
        assert (thing.__doc__ or "").strip(), name
        if inspect.isclass(thing):
            for member, value in members(thing):
                text = inspect.getdoc(getattr(thing, member, value))
                if callable(value) or isinstance(value, (property, classmethod, staticmethod)):
                    assert (text or "").strip(), f"{name}.{member}"


def test_docstrings_name_every_parameter():
    for name in inlay.__all__:
        thing = getattr(inlay, name)
        functions = [(name, thing)] if not inspect.isclass(thing) else []
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            methods = [(member, value) for member, value in members(thing) if inspect.isfunction(value)]
            functions += [(f"{name}.{member}", value) for member, value in methods]
            if "Parameters\n" in thing.__doc__:
                for parameter in inspect.signature(thing).parameters:
                    assert parameter in thing.__doc__, f"{name}({parameter})"
        for label, function in functions:
            text = inspect.getdoc(function) or ""
            if "Parameters\n----------" in text:
                for parameter in inspect.signature(function).parameters:
                    assert parameter in ("self", "cls") or parameter in text, f"{label}({parameter})"


def test_the_families_are_public():
    for family in inlay.indexes.FAMILIES:
        assert getattr(inlay, family.__name__) is family
        assert family.__name__ in inlay.__all__
        assert issubclass(family, inlay.Index)


def test_the_version_is_a_version():
    numbers = inlay.__version__.split(".")
    assert len(numbers) == 3
    assert all(number.isdecimal() for number in numbers)


def test_the_import_is_light(run_script):
    printed = run_script(
        f"""
        import sys
        import numpy
        before = set(sys.modules)
        import inlay
        taken = {{name.split(".")[0] for name in set(sys.modules) - before}}
        print(*sorted(taken & set("{HEAVY}".split())))
        """
    )
    assert printed == ""


def test_a_search_imports_nothing_more(run_script):
    printed = run_script(
        """
        import sys
        import numpy
        import inlay
        before = set(sys.modules)
        for spec in ("Flat", "LVQ4x8"):
            index = inlay.from_spec(spec, 4)
            index.add(numpy.ones((20, 4)))
            index.search(numpy.ones(4), 3)
            index.from_bytes(index.to_bytes())
        print(*sorted(name for name in set(sys.modules) - before if not name.startswith("numpy")))
        """
    )
    assert printed == ""


def test_the_package_leaves_the_process_as_it_was(run_script):
    """No warning filter, signal handler, random state or thread is touched by the import."""
    printed = run_script(
        """
        import os, random, signal, threading, warnings
        import numpy
        def state():
            return (
                list(warnings.filters), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
                random.getstate(), numpy.random.get_state()[1].tolist(), numpy.geterr(),
                threading.active_count(), len(os.listdir("/proc/self/task")),
            )
        before = state()
        import inlay
        print(state() == before)
        """
    )
    assert printed == "True"


def test_nothing_is_said_on_the_way(run_script):
    assert run_script("import warnings; warnings.simplefilter('error'); import inlay") == ""
    assert "inlay" in sys.modules
