"""What the jobs find out about a library of Python modules, and the pages that show it."""
