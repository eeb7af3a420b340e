"""The process in which a scenario is played: `python -m aiolots.testing._child SPEC SCENARIO VARIANT...`.

It prints one JSON object a line for each variant, and ends with the first that does not pass: its threads may never end.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import traceback
import warnings

from aiolots.testing import conformance
from aiolots.testing._waiting import Broken, Hang, NotApplicable
from aiolots.testing._world import World
from aiolots.testing.conformance import Outcome

_AT_MOST = 300.0  # seconds: the parent ends it long before that, unless it was killed itself


def main(spec: str, scenario: str, *names: str) -> None:
    """Play the variants."""
    warnings.simplefilter("ignore")
    faulthandler.dump_traceback_later(_AT_MOST, exit=True)
    adapter = conformance.load(spec)
    for variant in conformance.variants_of(scenario):
        if variant.name not in names:
            continue
        outcome, reason = Outcome.PASS, ""
        try:
            variant.run(World(adapter, variant.world))
        except NotApplicable as why:
            outcome, reason = Outcome.NOT_APPLICABLE, str(why)
        except Hang as what:
            outcome, reason = Outcome.HANG, str(what)
        except Broken as what:
            outcome, reason = Outcome.FAIL, str(what)
        except BaseException as error:  # noqa: BLE001 whatever the lock raises
            traceback.print_exc()
            outcome, reason = Outcome.FAIL, f"{type(error).__name__}: {error}".partition("\n")[0]
        print(json.dumps({"variant": variant.name, "outcome": outcome, "reason": reason}), flush=True)
        if outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE):
            break
    os._exit(0)  # threads that hang are left to themselves


if __name__ == "__main__":
    main(*sys.argv[1:])
