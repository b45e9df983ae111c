"""What all commands share: the notebooks of the lab, what a run leaves, options and exit codes."""
