"""Weights from files: whose they are, how they are read and fitted, and what they were trained on."""
