"""nnU-Net trainers with calibrated losses: the only place in the project that knows ``nnUNetTrainer``."""
