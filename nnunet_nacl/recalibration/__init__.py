"""Temperature scaling of nnU-Net folders: fitted on validation folds, applied to saved probabilities."""
