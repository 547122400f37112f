"""Templates of devices: their store, their documents, and the widgets of dashboards."""
