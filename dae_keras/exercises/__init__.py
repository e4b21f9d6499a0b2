"""Exercises that a machine checks: the learner writes a function, `check` says what is wrong with it, and `hint` helps in steps.

The tasks and one solution of each are in the notebooks, the judges in the modules beside this one, one for each notebook.
"""

from dae_keras.exercises import data, vae
from dae_keras.exercises.checking import EXERCISES, Exercise, ExerciseError, Verdict, check, hint, judge

__all__ = ["EXERCISES", "Exercise", "ExerciseError", "Verdict", "check", "data", "hint", "judge", "vae"]
