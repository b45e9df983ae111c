"""Kaggle: the lab's data, notebooks on its GPU, the competition."""
