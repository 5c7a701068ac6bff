"""The bundled model and the demo task, each with a card that says how it was made."""
