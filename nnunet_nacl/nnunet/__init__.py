"""Where nnU-Net keeps data sets, models, and what goes with a folder of predictions."""
