"""One module a command: ``run(arguments)`` does it and prints. The words for people, and ``--json`` for scripts."""
