"""The services of the platform, each with its SQL beside it: devices, organizations, timeline and others."""
