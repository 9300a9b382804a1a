"""Build the optional C kernels: the same sources once per instruction level.

Everything else about the package is in pyproject.toml. The kernels are plain shared libraries,
loaded through ctypes: no Python C API, hence one wheel per platform for every Python version.
Without a compiler the build goes on and numpy does the work.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("ggufkit/kernels/src")
# Exact float32: no reassociation (never -ffast-math) and no fused multiply-add, so that every
# result equals that of ggml's reference encoders. errno of sqrtf would keep it from vectorizing.
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
X86_LEVELS = {"x86_64_v3": ["-march=x86-64-v3"], "x86_64_v4": ["-march=x86-64-v4"]}


def kernel(name: str, flags: list[str]) -> Extension:
    """One shared library, `ggufkit/kernels/_NAME`, from all sources."""
    return Extension(
        f"ggufkit.kernels._{name}",
        sources=sorted(str(path) for path in SOURCES.glob("*.c")),
        depends=sorted(str(path) for path in SOURCES.glob("*.h")),
        extra_compile_args=FLAGS + flags,
        libraries=["m"],
        optional=True,
    )


def kernels() -> list[Extension]:
    """The libraries of this platform; `baseline` is SSE2 or NEON, which every CPU has."""
    platform = sysconfig.get_platform()
    if platform.endswith(("x86_64", "amd64")):
        return [kernel("baseline", []), *(kernel(*level) for level in X86_LEVELS.items())]
    if platform.endswith(("aarch64", "arm64")):
        return [kernel("baseline", [])]
    return []


class BuildKernels(build_ext):
    """Name the libraries for ctypes and keep the levels' object files apart."""

    def get_ext_filename(self, fullname: str) -> str:
        """Drop the interpreter's suffix: the library belongs to no Python version."""
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Export what the sources mark, not a module's init function."""
        return list(ext.export_symbols)

    def build_extension(self, ext: Extension) -> None:
        """Build one level in its own folder."""
        if self.compiler.compiler_type == "msvc":
            self.announce("the kernels need GCC or Clang vector types: left out", level=2)
            return
        shared, self.build_temp = self.build_temp, str(Path(self.build_temp) / ext.name)
        try:
            super().build_extension(ext)
        finally:
            self.build_temp = shared

    def copy_extensions_to_source(self) -> None:
        """Copy for an editable install what was built; an optional library may be missing."""
        built = [ext for ext in self.extensions if Path(self.get_ext_fullpath_built(ext)).exists()]
        everything, self.extensions = self.extensions, built
        try:
            super().copy_extensions_to_source()
        finally:
            self.extensions = everything

    def get_ext_fullpath_built(self, ext: Extension) -> str:
        """Where `build_extension` put the library."""
        return str(Path(self.build_lib) / self.get_ext_filename(ext.name))


class WheelForAnyPython(bdist_wheel):
    """Tag the wheel py3-none-PLATFORM: the libraries do not link to Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Keep the platform only."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=kernels(),
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": WheelForAnyPython},
)
