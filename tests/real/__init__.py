"""Against a real inference server: `make real`, not a part of `make test`."""
