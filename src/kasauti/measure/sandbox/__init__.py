"""Programs that nobody vouches for, run where they can do no harm: own namespaces, own root, no rights, hard limits."""
