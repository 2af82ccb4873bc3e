"""The configuration of a study: read, checked, and written as a template."""
