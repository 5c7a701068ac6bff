"""Documents → chunks → an index that is kept up with them, and searched."""
