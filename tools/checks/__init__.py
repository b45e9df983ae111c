"""Checks of data, pairs and labels."""
