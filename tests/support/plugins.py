"""Sources of plugins, and timeouts for their tests."""

from __future__ import annotations

from support.patience import patient

from hub.hooks import HookTimeouts

#: A plugin that starts and does nothing.
EMPTY_PLUGIN = """
@hookimpl
async def hub_start(hub, nursery):
    pass
"""

#: Restarts after milliseconds, and a short deadline for hooks.
QUICK = HookTimeouts(hook=0.2, start=patient(0.5), restart=(0.01, 0.04))
