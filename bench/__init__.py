"""Benchmarks: `python -m bench`, or `make bench`. Ratios ours/theirs, each from paired rounds in one process.

    rounds.py      how two things are timed against each other; what a workload is made of
    statements.py  a statement becomes a timed loop: in a thread, in tasks, in both
    peers.py       which other libraries are here, and the fastest documented way to use each
    bars.py        the promises, and what was measured of each
    work_*.py      the workloads: each yields pairs
    weigh.py       bytes per lock and per parked task, each weighed in a process of its own
    core/          the C core alone against pthread and Rust's parking_lot; core_alone.py builds and reads it
    handoff.py     policies of handing over, each compiled into a core of its own; handoff_worker.py runs one from Python
    report.py      Markdown, JSON, and the plot
"""
