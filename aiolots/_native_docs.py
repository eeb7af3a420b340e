"""Docstrings and signatures of the C types: those of the front in Python, so that each is written once."""

from __future__ import annotations

import inspect

from aiolots import _pure, _pure_locks, _pure_reentrant

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        _pure_locks.RwLockFront,
        _pure_locks.MutexFront,
        _pure_reentrant.ReentrantFront,
        _pure_reentrant.ReentrantRequest,
        _pure.ReadRequest,
        _pure.WriteRequest,
        _pure.UpgradableRequest,
    )
}
_kept: list[str] = []  # a C type points into these for ever


def documentation_of(kind: str, method: str) -> str | None:
    """Return what a method's ml_doc is to say, with its signature as CPython wants it there; None without a docstring."""
    function = getattr(_KINDS[kind], method, None)
    doc = inspect.getdoc(function)
    if not inspect.isfunction(function) or not doc:
        return None
    parameters = list(inspect.signature(function).parameters.values())[1:]
    given = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    _kept.append(f"{method}({', '.join(['$self', *given])})\n--\n\n{doc}")
    return _kept[-1]
