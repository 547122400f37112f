"""The console: Pinwheel in a terminal, with Textual. It needs the extra ``pinwheel-hub[console]``."""
