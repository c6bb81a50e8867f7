"""What every other package stands on: errors, configuration, files, logging. Importing it never imports torch."""
