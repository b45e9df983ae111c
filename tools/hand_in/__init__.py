"""`./run_all.sh hand-in`: the rules, and the zip."""
