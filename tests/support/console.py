"""Textual's apps in tests, and their screens as text files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.patience import patient
from textual.app import App

from tui.themes import DEFAULT_THEME, themes

#: The sizes of terminals at which a widget's frame must not break.
SIZES = [(40, 10), (59, 20), (80, 24), (100, 30), (160, 50), (250, 70)]


class WidgetApp(App):
    """An app with some widgets; ``messages`` are those that the widgets have posted."""

    def __init__(self, *widgets, theme=DEFAULT_THEME):
        super().__init__()
        self._widgets = widgets
        self.messages = []
        for known in themes():
            self.register_theme(known)
        self.theme = theme

    def compose(self):
        yield from self._widgets

    def record(self, message):
        # Each ancestor gets a message that bubbles.
        if not any(message is known for known in self.messages):
            self.messages.append(message)


def play(script, *widgets, size=(80, 24), app=None):
    """Run ``script(app, pilot)``, a coroutine function, with an app of these widgets; return the app."""
    app = app or WidgetApp(*widgets)

    async def run():
        async with app.run_test(size=size, message_hook=app.record) as pilot:
            await pilot.pause()
            await script(app, pilot)

    async def limited():
        await asyncio.wait_for(run(), patient(20))

    asyncio.run(limited())
    return app


async def settle(app, pilot):
    """Wait until all workers are done and everything is drawn."""
    while app.workers:
        await app.workers.wait_for_complete()
        await pilot.pause()
    await pilot.pause()


def screen_of(app):
    """The lines of the screen, without trailing spaces."""
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


def widths_of(app):
    return {strip.cell_length for strip in app.screen._compositor.render_strips()}


class Screens:
    """Compares screens with text files in a folder, or writes these."""

    def __init__(self, folder: Path, update: bool):
        self._folder, self._update = folder, update

    def check(self, app, name):
        path = self._folder / f"{name}.txt"
        lines = screen_of(app)
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert path.exists(), f"{path} is missing: look at the screen and run pytest with --update-screens"
        assert path.read_text(encoding="utf-8").splitlines() == lines
