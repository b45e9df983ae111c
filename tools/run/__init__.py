"""`./run_all.sh`: runs the notebooks and shows what came out."""
