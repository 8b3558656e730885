"""Tables of every storage, read as streams of rows: delimited text, JSON Lines, Parquet, Excel, data sets."""
