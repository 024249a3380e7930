"""One package per engine; an engine never imports another."""
