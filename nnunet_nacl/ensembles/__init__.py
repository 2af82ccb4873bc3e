"""Folders of softmax files in, one of their mean out."""
