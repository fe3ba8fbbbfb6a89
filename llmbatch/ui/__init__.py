"""What people see, on stderr. The home of rich; the engine never imports it."""
