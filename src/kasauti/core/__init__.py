"""The words everything else uses: values, errors, the task file, files. Imports neither torch nor pandas."""
