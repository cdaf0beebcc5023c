"""The claims: patterns, controls and defences on people nobody trained on, with intervals and doubts."""
