"""`minihire paper`: every table and figure of the paper at the user's scale, next to the paper's values.

scales.py has the settings. paper_study.py trains and measures each network once. The experiments (accuracy.py, sweeps.py,
spikes.py, cost.py, attackers.py, choices.py) turn the measurements into outcomes (outcome.py), which minihire/report shows.
"""
