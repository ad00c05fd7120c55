"""Tables: columns of numbers, categories, booleans and dates, with gaps, in CSV, Parquet or a DataFrame."""
