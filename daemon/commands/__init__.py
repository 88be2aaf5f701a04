"""The commands of `leptond`, a module each, with `register(subparsers)` and `run(args) -> int`."""
