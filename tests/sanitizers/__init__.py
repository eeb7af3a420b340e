"""Sanitizers: the C tests, the suite and the stress under ASan with UBSan, TSan and LSan; and a count of what keeps growing.

    python -m tests.sanitizers                              all of it
    python -m tests.sanitizers --smoke                      a part of each, in minutes
    python -m tests.sanitizers --only 'thread-*' --seconds 600

Each check builds the two extension modules in a copy of the tree under build/sanitizers, so nobody's build is touched, and
nobody's edits disturb a run. `bites` comes first: a sanitizer that does not report a planted bug proves nothing. The only
suppressions are in the files beside this one, each with a reason, and none is for the project's own code.
"""
