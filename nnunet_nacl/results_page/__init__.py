"""The results of a study as Markdown pages with figures, for a paper or for docs/results."""
