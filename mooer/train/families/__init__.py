"""What differs between the kinds of models that are trained; all the rest of `mooer.train` is the same for them."""
