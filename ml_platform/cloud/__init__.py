"""The one window on Google: typed values in and out, none of its messages, no tables of ours."""
