"""Where the time goes: the stages of use, the networks and other models, timed side by side in one run."""
