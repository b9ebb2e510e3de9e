"""Index algorithms behind ``pp.split_*``: arrays in, partition codes out."""
