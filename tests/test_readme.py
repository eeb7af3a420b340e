"""The README's first code sample, copied from it and run in an empty folder; it prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_first_sample_runs_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    sample = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    printed = re.search(r"It prints\n\n```\n(.*?)```", README, re.DOTALL)
    assert sample is not None
    assert printed is not None
    program = tmp_path / "sample.py"
    program.write_text(sample[1], encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == printed[1]
    assert not ran.stderr
