"""Pages made from what a run has written: its report, several runs side by side, how a text came about.

Each page is one file that needs no network. It is made from files alone, torch is not imported, and whatever a killed
run left half-written is passed over.
"""
