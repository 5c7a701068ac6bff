"""How good were the answers? Metrics, intervals, paired tests, calibration. Expected and predicted in, figures out."""
