"""Trained models in, the results of `evaluate` out: nnU-Net's own predictions, evaluated in memory."""
