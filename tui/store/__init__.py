"""What the console knows of a hub, and what it asks the hub to change. Nothing here draws or needs a terminal.

The modules are plain objects that one asyncio task at a time uses; only `tui.store.session` and `tui.store.stream` wait
for the hub.
"""
