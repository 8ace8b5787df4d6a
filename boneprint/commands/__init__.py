"""The commands, a file for each subject: each parses, calls one function, and prints.

Heavy libraries are imported within a command, so that `boneprint --help` answers at once.
"""
