"""A FastAPI app in which `def` and `async def` endpoints share one lock. See README.md beside this file."""
