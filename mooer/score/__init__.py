"""Error rates and BLEU with everything needed to reproduce them. Importing it never imports torch."""
