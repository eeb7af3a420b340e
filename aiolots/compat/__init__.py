"""Other libraries' names for aiolots' locks: change the import, and the rest of a program stays as it is.

    from aiolots.compat import threading    # instead of `import threading`
    from aiolots.compat import asyncio      # instead of `import asyncio`
    from aiolots.compat import aiorwlock    # instead of `import aiorwlock`

Each module documents where it differs from its model.
"""
