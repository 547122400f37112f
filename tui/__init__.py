"""The console: a hub in a terminal. It knows hubs through `client` only."""
