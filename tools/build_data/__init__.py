"""`./run_all.sh build-data`: from any folder of audio to the lab's data, on one machine or many."""
