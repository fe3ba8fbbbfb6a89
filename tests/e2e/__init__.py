"""The installed command, from outside: in processes of its own, over pipes, terminals and signals."""
