"""The terminal of a command: what it prints, and Ctrl-C. No part of a running hub."""
