"""What the lab's notebooks import: data, features, models, training, evaluation, plots, records."""
