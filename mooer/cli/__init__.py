"""One click command a file; `bin/` and the console scripts are made from what is here."""
