"""The command line: click commands, one file a group of verbs; ``main.py`` finds them. Nothing below imports it."""
