"""A hosted model behind an OpenAI-compatible endpoint: every call paid once, kept, and under a cap."""
