"""What happens out there? Answered calls and reviews in; figures, alerts, retraining triggers and diagnoses out. It
knows no HTTP, and it changes nothing: what to do is said, not done.
"""
