"""A proxy that stands still, for three reasons: `python -m examples.incident --help`. See README.md beside this file."""
