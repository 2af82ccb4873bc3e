"""Comparing evaluated runs."""
