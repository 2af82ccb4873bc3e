"""The tasks that a study trains on, and their data in nnU-Net's folders."""
