"""Progress, notices and summaries on stderr. The only package that imports rich; the engine never imports it."""
