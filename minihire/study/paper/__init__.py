"""`minihire paper`: every table and figure of the paper at the user's scale, beside what the paper prints.

scales.py says what is trained, study.py trains and measures it once, the experiments (accuracy.py, sweeps.py, spikes.py, cost.py)
turn that into outcomes (outcome.py), and page.py shows them.
"""
