"""Tables for the terminal, figures and HTML pages. They are made from files of results; nothing is computed here."""
