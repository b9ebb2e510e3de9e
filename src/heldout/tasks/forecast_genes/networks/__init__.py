"""Networks of the gene forecasts."""
