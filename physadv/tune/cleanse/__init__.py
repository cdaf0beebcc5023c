"""Cleansing: methods that make a poisoned detector see again, from clean images alone.

A method is a file here and a line in `run.METHODS`. It may look at clean images only: every choice is made by what
is found in images that are held out, none by the trigger, which a defender does not have.
"""
