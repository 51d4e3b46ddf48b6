"""Where `declare` puts the functions of a test, so that `settings.JOBS` can name them."""
