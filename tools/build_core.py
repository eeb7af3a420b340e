"""Builds `aiolots._core`: the C core and the cffi glue around it, in one extension module.

setuptools loads this file by the name given in pyproject.toml. The declarations that Python sees are csrc/api.h, read
verbatim, so C and Python cannot disagree about them; the glue is generated into the build folder, never into the tree.

The environment chooses the flavour:
    AIOLOTS_PARKER=pthread                      the portable parker, where Linux would get the futex
    AIOLOTS_SANITIZE=address|thread|undefined   a sanitizer, to be preloaded into Python; address brings undefined along
    AIOLOTS_DEBUG=1                             assertions of the core, -O1 -g
    AIOLOTS_WERROR=1                            warnings are errors, as CI wants it
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from cffi import FFI
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    from setuptools import Extension

CSRC = Path("csrc")  # relative, as setuptools wants its sources; the build runs in the project's root
CDEFS = (CSRC / "api.h", CSRC / "python" / "cffi_extra.h")
PUBLIC_HEADERS = ("api.h", "capi.h")
PREAMBLE = "python/cffi_preamble.h"
SANITIZERS = {"address": "address,undefined", "thread": "thread", "undefined": "undefined"}

# cffi's wrappers have arguments that they do not use; the core's own files stay under -Wextra.
GLUE = f"""
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include "{PREAMBLE}"
"""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INTEGER_MACRO = re.compile(r"\s*#\s*define\s+(\w+)\s+\(*-?(?:\d|U?INT\d+_(?:C|MIN|MAX)\b)")


def declarations(header: str) -> str:
    """Return a header as `FFI.cdef` takes it.

    cffi has no preprocessor: its lines go, but an integer macro is left for the compiler to evaluate (`#define N ...`).
    """
    kept: list[str] = []
    for line in _COMMENT.sub(" ", header).replace("\\\n", " ").splitlines():
        if not line.lstrip().startswith("#"):
            kept.append(line)
        elif macro := _INTEGER_MACRO.match(line):
            kept.append(f"#define {macro[1]} ...")
    return "\n".join(kept) + "\n"


def parker() -> str:
    """Name the parker to compile in: exactly one is."""
    chosen = os.environ.get("AIOLOTS_PARKER") or ("futex" if sys.platform == "linux" else "pthread")
    if chosen not in ("futex", "pthread"):
        raise SystemExit(f"AIOLOTS_PARKER={chosen}: known are futex and pthread")
    return chosen


def core_sources() -> list[str]:
    """List the core's C files, leaving out the platform parker that is not wanted."""
    unwanted = {"parker_futex.c", "parker_pthread.c"} - {f"parker_{parker()}.c"}
    return sorted(path.as_posix() for path in CSRC.glob("*.c") if path.name not in unwanted)


def native_sources() -> list[str]:
    """List the C files of the front in C."""
    return [*sorted(path.as_posix() for path in (CSRC / "python").glob("*.c")), (CSRC / "modes.c").as_posix()]


def flags() -> tuple[list[str], list[str]]:
    """Return the arguments for the compiler and for the linker."""
    compile_args = ["-std=gnu11", "-Wall", "-Wextra", "-O2", "-fvisibility=hidden"]
    link_args: list[str] = []
    if os.environ.get("AIOLOTS_DEBUG") == "1":
        compile_args += ["-O1", "-g", "-UNDEBUG"]  # Python's own flags define NDEBUG
    if os.environ.get("AIOLOTS_WERROR") == "1":
        compile_args += ["-Werror"]
    if sanitizer := os.environ.get("AIOLOTS_SANITIZE"):
        if sanitizer not in SANITIZERS:
            raise SystemExit(f"AIOLOTS_SANITIZE={sanitizer}: known are {', '.join(SANITIZERS)}")
        compile_args += [f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
        link_args += [f"-fsanitize={SANITIZERS[sanitizer]}"]
    if sys.platform != "win32":
        compile_args += ["-pthread"]
        link_args += ["-pthread"]
    return compile_args, link_args


def macros() -> list[tuple[str, str | None]]:
    """Return the macros for all files of the core.

    The limited API is declined: the preamble touches the GIL, and an own file name for each Python lets the virtual
    environments of several Pythons share one editable tree.
    """
    result: list[tuple[str, str | None]] = []
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):  # where there is none, cffi says so itself
        result.append(("_CFFI_NO_LIMITED_API", "1"))
    if parker() == "pthread":
        result.append(("LOTS_PARKER_PTHREAD", "1"))
    if os.environ.get("AIOLOTS_DEBUG") == "1":
        result.append(("LOTS_DEBUG", "1"))
    return result


def generate(module: str, target: Path) -> None:
    """Write the cffi glue for `module` to `target`."""
    ffi = FFI()
    for header in CDEFS:
        ffi.cdef(declarations(header.read_text(encoding="utf-8")))
    ffi.set_source(module, GLUE)
    target.parent.mkdir(parents=True, exist_ok=True)
    ffi.emit_c_code(str(target))


class BuildPy(build_py):
    """`build_py` that puts the headers of the function table into the package: aiolots.get_include() names their folder."""

    def run(self) -> None:
        """Copy the headers beside the modules; an editable install finds them where they are."""
        super().run()
        if not self.editable_mode:
            for header in PUBLIC_HEADERS:
                target = Path(self.build_lib) / "aiolots" / "include" / header
                self.mkpath(str(target.parent))
                self.copy_file(str(CSRC / header), str(target))


class BuildExt(build_ext):
    """`build_ext` that knows where the sources of `aiolots._core` come from."""

    def finalize_options(self) -> None:
        """Fill in what pyproject.toml cannot say: globs, and flags that depend on the environment."""
        super().finalize_options()
        self.force = True  # the flavour is not in any time stamp, and the core compiles in seconds
        for extension in self.extensions or []:
            # The native front has no core of its own, only the table of modes: it reaches the core by its function table.
            native = extension.name == "aiolots._native"
            extension.sources = native_sources() if native else core_sources()
            extension.depends = sorted(path.as_posix() for path in CSRC.rglob("*.h"))
            extension.include_dirs = [CSRC.as_posix()]
            extension.define_macros = macros()
            extension.extra_compile_args, extension.extra_link_args = flags()

    def build_extension(self, ext: Extension) -> None:
        """Generate the glue where the object files go, then compile it with the core."""
        if ext.name == "aiolots._core":
            glue = Path(self.build_temp) / "_core_glue.c"
            generate(ext.name, glue)
            ext.sources = [*ext.sources, str(glue)]
        super().build_extension(ext)
