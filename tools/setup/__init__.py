"""Sets the environment up, and checks it."""
