"""Parts of a score -> a mix that circles the head."""
