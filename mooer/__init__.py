"""mooer: LLM-based speech recognition and translation from the command line.

Audio goes in at the left, a scored transcript comes out at the right:
audio -> features -> batch -> model -> text -> score.
"""

__version__ = "0.1.0"
