"""A package that plugs into physadv: the worked examples of docs/plugins.md, word for word."""
