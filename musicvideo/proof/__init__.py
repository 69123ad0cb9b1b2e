"""Whether a film is sound: measured, compared with limits, and shown on a page."""
