"""What the lab consists of, what a run leaves, and what all commands share."""
