"""Experiment sets and the papers' claims: what is asked of the library, outside of it.

A study trains or measures the same models under several settings and seeds and commits its rows;
`python -m studies.<name>` continues one where it stopped. Claims are read off those rows.
"""
