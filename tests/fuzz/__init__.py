"""Fuzzing: Hypothesis drives real threads and real tasks through the public API, and a model says what may come of it.

    model.py     the oracle: readers, writer, queue, and every state that a step may end in
    stage.py     the actors: threads and event loops that do one thing when told to, and then are done or parked
    subject.py   what is put on the stage: the locks of aiolots, or another lock with the same words
    machine.py   the rules, one step of the API each; after every step stage and model must agree
    toy.py       a lock in 150 lines with a fault to choose: the machine must find it

`AIOLOTS_FUZZ=long python -m pytest tests/test_fuzz_locks.py` looks for minutes, with random seeds.
"""
