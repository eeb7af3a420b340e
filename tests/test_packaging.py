"""An sdist has all that it takes: a wheel is built from it, away from the tree, and imported in a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "*.o", "__pycache__")

USE_IT = """
import pathlib, sys
import aiolots, aiolots._core
for module in (aiolots, aiolots._core):
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
assert pathlib.Path(aiolots.__file__).with_name("py.typed").exists()
"""


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command, showing what it printed if it fails; PYTHONPATH and the like must not lend it this tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from a copy of the tree: the file list that an earlier build left would hide a missing one."""
    tree = tmp_path_factory.mktemp("tree") / "aiolots"
    shutil.copytree(ROOT, tree, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tree.parent, tree, cwd=tree.parent)
    (found,) = tree.parent.glob("*.tar.gz")
    return found


def test_sdist_carries_sources_and_no_build_results(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ("csrc", "aiolots", "pytest_aiolots", "tools")
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".c", ".h", ".py", ".pyi", ".sh"}
    }
    assert wanted | {"LICENSE", "README.md", "pyproject.toml", "aiolots/py.typed"} <= packed
    assert not [name for name in packed if name.endswith((".so", ".o", ".pyc"))]


def test_wheel_from_the_sdist_works_in_a_clean_environment(sdist: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(python, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "wheels", sdist, cwd=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("aiolots-*.whl")
    run(python, "-m", "pip", "install", wheel, cwd=tmp_path)
    run(python, "-c", USE_IT, cwd=tmp_path)
