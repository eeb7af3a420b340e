"""Stress: threads, two event loops, cancellations, very short timeouts, forks and dying loops, checked by ghost state.

    python -m tests.stress --seconds 60 --loop both --seed 1

A run is a series of rounds, each on new locks. The round `parking_lot` is the very mix that drives the word of parking_lot
0.12.1 to 0xffffffffffffffff within seconds; the round `worlds` is everything at once, with forked children that use what
they find (`--no-fork`), and with loops that are closed or stopped while their tasks hold and wait (`--no-loop-death`), or
dropped as they are (`--drop`).
"""
