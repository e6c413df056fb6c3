"""Annotating any number of images: from folders, tars and Parquet files to Parquet files of faces.

`sources` says what images there are, in pieces that workers take; `table` what the columns of the result are;
`destination` what is there already; `work` is what one worker does, `engines` how many do it, on this machine or on a
Ray cluster.
"""
