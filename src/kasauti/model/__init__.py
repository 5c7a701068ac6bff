"""The network itself: loading, adapters, label posteriors, generation. Token ids in, probabilities or token ids out;
it knows no rows."""
