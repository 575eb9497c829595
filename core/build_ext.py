"""How the extension modules listed in pyproject.toml are compiled."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools.command.build_ext import build_ext

PACKAGE = Path("core/inlay")
SHARED = "inlay._shared"  # Cython's own memoryview code: compiled once, not once per module
ABI3 = os.environ.get("INLAY_ABI3") == "1"  # one wheel a platform for every Python >= 3.11
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
}
# -ffp-contract=off: a fused multiply-add only where the source asks for one, so that codes
# come out the same at every CPU level.
FLAGS = {
    "unix": (
        [
            "-std=c++17",
            "-O3",
            "-g0",
            "-ffp-contract=off",
            "-fno-math-errno",
            "-fvisibility=hidden",
            "-Wno-uninitialized",
        ],
        ["-pthread"],
    ),
    "msvc": (["/std:c++17", "/O2", "/EHsc", "/fp:precise"], []),
}


def headers() -> list[str]:
    """Return every file that a change of must rebuild the extensions."""
    return sorted(str(path) for pattern in ("*.hpp", "*.pxd") for path in PACKAGE.rglob(pattern))


class BuildExt(build_ext):
    """Cythonize first, then compile in parallel."""

    def finalize_options(self) -> None:
        """Give every extension its language, include path and dependencies."""
        for ext in self.distribution.ext_modules:
            if ext.name != SHARED:  # that one is C, and Cython itself writes it
                ext.language = "c++"
                ext.include_dirs.append(str(PACKAGE))
                ext.depends += headers()
            if ABI3:
                ext.py_limited_api = True
                ext.define_macros += [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")]
        super().finalize_options()
        self.parallel = os.cpu_count()

    def build_extensions(self) -> None:
        """Write the C++ sources, then compile them."""
        # Cython is not thread-safe, so it runs here, before the compiler runs in parallel.
        made = cythonize(
            self.extensions,
            build_dir=self.build_temp,
            compiler_directives=DIRECTIVES,
            shared_utility_qualified_name=SHARED,
        )
        # Cython leaves copies of headers beside its sources, where the next build would find them, old by
        # then, before the real ones.
        for copy in Path(self.build_temp).rglob("*.hpp"):
            copy.unlink()
        compile_args, link_args = FLAGS[self.compiler.compiler_type]
        for ext, new in zip(self.extensions, made, strict=True):
            ext.sources = new.sources
            ext.extra_compile_args += compile_args if ext.language == "c++" else ["-g0"]
            ext.extra_link_args += link_args
        super().build_extensions()

    def get_source_files(self) -> list[str]:
        """Return what the source distribution carries."""
        return [*super().get_source_files(), *headers(), "core/build_ext.py"]
