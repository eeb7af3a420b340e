"""Tests for locks, any locks: see aiolots.testing.conformance, and `python -m aiolots.testing.scoreboard`."""
