"""Teach the adapter: recipe, plan, trainer, runs. Examples and a model in, a run folder with an adapter out."""
