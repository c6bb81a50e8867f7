#!/usr/bin/env python3
"""mooer-find-speech without an installation: `python bin/find_speech.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.find_speech import main

main()
