"""The claims: held-out people, controls, intervals, doubts."""
