"""The embedded demo set: music in 20 genres, synthesised here and written as the lab's data."""
