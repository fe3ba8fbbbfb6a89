"""Against pandas, polars, datasets, tqdm and a notebook's kernel: `make frames`, not a part of `make test`."""
