"""Speed of trainings on a CPU: see `__main__`."""
