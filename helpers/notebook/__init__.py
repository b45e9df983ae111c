"""What a notebook stores, shows, and lets one try."""
