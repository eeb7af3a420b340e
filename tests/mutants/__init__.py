"""Mutants of the core: does a small wrong change make a test fail? See __main__.py."""
