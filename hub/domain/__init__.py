"""The domain services, each with its own SQL: devices, organizations, timeline and others."""
