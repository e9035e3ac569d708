"""From a command line to a finished run, and what is left of one that did not finish."""
