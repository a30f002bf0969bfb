"""The data side: landing files in, one typed table out."""
