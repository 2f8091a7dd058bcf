"""`minihire paper`: every table and figure of the paper at the user's scale, next to the paper's values.

scales.py has the settings. paper_study.py trains and measures each network once. Other files, such as accuracy.py, have one group
of experiments each. An experiment turns measurements into an outcome (outcome.py), which minihire/report shows.
"""
