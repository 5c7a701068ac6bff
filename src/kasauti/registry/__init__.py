"""What may be served? Versions as sealed folders, the champion, and files answered with it. Trials in, versions and
answers out.
"""
