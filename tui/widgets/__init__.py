"""The widgets of the console. They draw with Textual's line API, and know no data source."""
