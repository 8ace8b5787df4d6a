"""Exit codes of the command line; 0 is done, or the answer "yes"."""

NO = 1  # the answer "no": outside the margin, something failed, damage found
UNUSABLE = 2  # input that cannot be used; click's own code for it, too
INTERRUPTED = 130  # what shells say of a program that SIGINT (2) ended: 128 + 2
