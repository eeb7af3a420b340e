"""The core's function table, as other native code uses it: a tiny extension, built here against aiolots.get_include()."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from aiolots import Mutex, RwLock, get_include
from tests.worlds import LOOP_KINDS, LoopThread, assert_idle, wait_until_parked

SOURCE = Path(__file__).parent / "extension" / "releaser.c"
READ, WRITE, MUTEX = 0, 2, 3
READY, MISUSE = 0, 5


def build(folder: Path, include: str) -> Any:
    """Compile and import the extension."""
    target = folder / f"releaser{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared", "-pthread"]
    command += [f"-I{include}", f"-I{sysconfig.get_paths()['include']}", str(SOURCE), "-o", str(target)]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location("releaser", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def releaser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(tmp_path_factory.mktemp("extension"), get_include())


@pytest.mark.parametrize("kind", LOOP_KINDS)
@pytest.mark.parametrize(("make", "mode"), [(RwLock, WRITE), (RwLock, READ), (Mutex, MUTEX)])
def test_a_pthread_releases_what_a_task_awaits(releaser: Any, make: Any, mode: int, kind: str) -> None:
    lock = make()
    assert releaser.try_(lock.address, mode)

    async def take() -> None:
        async with lock.lock() if mode == MUTEX else lock.write():
            pass

    with LoopThread(kind) as loop:
        waiting = loop.submit(take())
        wait_until_parked(lock, 1)
        assert releaser.release_in_a_pthread(lock.address, mode) == READY
        waiting.result(20)
    assert_idle(lock)


def test_a_release_that_nobody_is_owed_changes_nothing(releaser: Any) -> None:
    lock = RwLock()
    for mode in (READ, WRITE, MUTEX):
        assert releaser.release_in_a_pthread(lock.address, mode) == MISUSE
    assert_idle(lock)


def test_another_version_is_refused(tmp_path: Path) -> None:
    for header in ("api.h", "capi.h"):
        shutil.copy(Path(get_include()) / header, tmp_path)
    text = (tmp_path / "capi.h").read_text()
    (tmp_path / "capi.h").write_text(text.replace("#define LOTS_CAPI_VERSION 1", "#define LOTS_CAPI_VERSION 999"))
    with pytest.raises(ImportError, match="version 1, this was built for 999"):
        build(tmp_path, str(tmp_path))
