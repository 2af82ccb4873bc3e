"""Figures and tables: ``prepare_*`` returns numbers, ``plot_*`` draws them."""
