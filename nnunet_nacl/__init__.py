"""Confidence that nnU-Net users can trust: calibrated training, exact evaluation."""

__version__ = "0.2.0"

__all__ = ["__version__"]
