"""One file per command, or per group of commands: parse, call, print."""
