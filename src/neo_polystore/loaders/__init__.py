"""Readers of the field's own file formats: path and options in, typed records and problems out."""
