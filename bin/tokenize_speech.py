#!/usr/bin/env python3
"""mooer-tokenize-speech without an installation: `python bin/tokenize_speech.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.tokenize_speech import main

main()
