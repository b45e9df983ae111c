"""What makes the lab fast and safe. Nobody needs to read it to do the lab."""
