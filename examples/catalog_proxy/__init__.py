"""The catalog proxy as a program of its own: `python -m examples.catalog_proxy`. See README.md beside this file."""
