"""One verb a file, a few lines that call the library. Arguments in, one `CommandResult` out; nothing heavy is
imported to parse them.
"""
