"""What the lab's notebooks share: eight files that are the lab, and `plots` for its figures.

`machinery/`, below them, makes them fast and safe; `notebook/`, above them, stores and shows.

Importing this package changes three things of the process, all of them here:
"""

from helpers.machinery import files, process

process.let_waiting_threads_sleep()  # OpenMP, before PyTorch is first imported
process.keep_freed_memory()  # malloc
files.show_lab_errors_as_one_line()  # sys.excepthook
